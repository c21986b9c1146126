# Opens or closes ports of a distribution to the network: forwarded by Windows where WSL has a network of its own (NAT),
# let through Hyper-V's firewall where it shares that of Windows (mirrored). There is no module of Ansible for either.
[CmdletBinding(SupportsShouldProcess)]
param (
    # Forwarded ports, as the registry writes them: '0.0.0.0/8080' = '127.0.0.1/3000'.
    [Collections.IDictionary]$Forward = @{},
    # Forwarded ports that end: '0.0.0.0/8080'.
    [string[]]$Forget = @(),
    # Rules of Hyper-V's firewall: 'llmdesk-3000' = 3000.
    [Collections.IDictionary]$Allow = @{},
    # Names of such rules that end.
    [string[]]$Disallow = @()
)

$ErrorActionPreference = 'Stop'
# WSL's own among the creators of virtual machines.
$wsl = '{40E0AC32-46A5-438A-A0B2-2B479E8F2E90}'

function Invoke-PortProxy {
    $said = & netsh.exe interface portproxy @args
    if ($LASTEXITCODE -ne 0) { throw "netsh interface portproxy $($args -join ' '): $said" }
}

if ($PSCmdlet.ShouldProcess('ports of the distribution')) {
    foreach ($listen in $Forget) {
        $address, $port = $listen -split '/'
        Invoke-PortProxy delete v4tov4 "listenaddress=$address" "listenport=$port"
    }
    foreach ($name in $Disallow) { Remove-NetFirewallHyperVRule -Name $name }
    foreach ($listen in $Forward.Keys) {
        $address, $port = $listen -split '/'
        $toAddress, $toPort = $Forward[$listen] -split '/'
        Invoke-PortProxy add v4tov4 "listenaddress=$address" "listenport=$port" "connectaddress=$toAddress" "connectport=$toPort"
    }
    foreach ($name in $Allow.Keys) {
        [void](New-NetFirewallHyperVRule -Name $name -DisplayName $name -Direction Inbound -Action Allow -VMCreatorId $wsl -Protocol TCP -LocalPorts $Allow[$name])
    }
}
