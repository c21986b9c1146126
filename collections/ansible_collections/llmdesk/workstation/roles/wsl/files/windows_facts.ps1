# Asks a Windows machine once what it is and has. It reads and changes nothing, and needs no module of its own.
# An answer that cannot be had is null or empty, and named in 'unknown': one missing thing must not lose the rest.
[CmdletBinding(SupportsShouldProcess)]
param (
    # The distribution whose scheduled task is looked for.
    [string]$Distribution = 'Ubuntu-24.04'
)

$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$unknown = New-Object Collections.ArrayList

function Get-Answer {
    param ([string]$Name, [scriptblock]$Ask)
    try { & $Ask } catch { [void]$unknown.Add("${Name}: $($_.Exception.Message)") }
}

function Get-Value {
    param ([string]$Key, [string]$Name)
    $item = Get-ItemProperty -LiteralPath $Key -ErrorAction SilentlyContinue
    if ($item -and ($item.PSObject.Properties.Name -contains $Name)) { $item.$Name }
}

$machineKey = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion'
$lxss = 'Software\Microsoft\Windows\CurrentVersion\Lxss'
$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$computer = Get-Answer 'computer' { Get-CimInstance Win32_ComputerSystem }

$system = Get-Answer 'system' {
    $key = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $os = Get-CimInstance Win32_OperatingSystem -Property Caption, ProductType
    @{
        caption = $os.Caption
        product_type = [int]$os.ProductType
        build = [int](Get-Value $key 'CurrentBuildNumber')
        revision = [int](Get-Value $key 'UBR')
        edition = Get-Value $key 'EditionID'
        architecture = Get-Value 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Environment' 'PROCESSOR_ARCHITECTURE'
        language = [Globalization.CultureInfo]::InstalledUICulture.Name
    }
}

$pending = @(Get-Answer 'reboot_pending' {
    if (Test-Path "$machineKey\Component Based Servicing\RebootPending") { 'component servicing' }
    if (Test-Path "$machineKey\WindowsUpdate\Auto Update\RebootRequired") { 'windows update' }
    if (Get-Value 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager' 'PendingFileRenameOperations') { 'file renames' }
})

# The quick question tells what is on, but not what waits for a reboot; the slow one needs an administrator.
$features = @{}
foreach ($name in 'VirtualMachinePlatform', 'Microsoft-Windows-Subsystem-Linux') {
    $features[$name] = Get-Answer $name {
        $quick = Get-CimInstance Win32_OptionalFeature -Filter "Name='$name'"
        if ($quick.InstallState -eq 1 -and $pending -notcontains 'component servicing') { 'Enabled' }
        else { [string](Get-WindowsOptionalFeature -Online -FeatureName $name).State }
    }
}

$virtualisation = Get-Answer 'virtualisation' {
    $processors = @(Get-CimInstance Win32_Processor -Property VirtualizationFirmwareEnabled)
    @{
        hypervisor_present = [bool]$computer.HypervisorPresent
        firmware_enabled = [bool]($processors | Where-Object VirtualizationFirmwareEnabled)
    }
}

# Who sits at the screen; by remote desktop, nobody does, and the desktop itself says who is there.
$consoleUser = Get-Answer 'console_user' {
    if ($computer.UserName) { $computer.UserName }
    else {
        $desktop = Get-CimInstance Win32_Process -Filter "Name='explorer.exe'" | Select-Object -First 1
        if ($desktop) {
            $owner = Invoke-CimMethod -InputObject $desktop -MethodName GetOwner
            "$($owner.Domain)\$($owner.User)"
        }
    }
}

$drive = Get-Answer 'drive' {
    $disk = Get-CimInstance Win32_LogicalDisk -Filter "DeviceID='$($env:USERPROFILE.Substring(0, 2))'"
    @{ name = $disk.DeviceID; free = [long]$disk.FreeSpace; size = [long]$disk.Size }
}

# A user's distributions stand in the registry of that user. Of others, it is there while they are logged on.
$distributions = @(Get-Answer 'distributions' {
    foreach ($key in Get-ChildItem "HKCU:\$lxss" -ErrorAction SilentlyContinue) {
        if ($key.GetValue('DistributionName')) {
            @{
                guid = $key.PSChildName
                name = $key.GetValue('DistributionName')
                version = [int]$key.GetValue('Version')
                state = [int]$key.GetValue('State')
                path = ([string]$key.GetValue('BasePath')) -replace '^\\\\\?\\', ''
                default_uid = [int]$key.GetValue('DefaultUid')
            }
        }
    }
})

$otherUsers = @(Get-Answer 'other_users' {
    foreach ($hive in Get-ChildItem 'Registry::HKEY_USERS' -ErrorAction SilentlyContinue) {
        $sid = $hive.PSChildName
        if ($sid -notmatch '^S-1-(5-21|12-1)-[\d-]+$' -or $sid -eq $identity.User.Value) { continue }
        foreach ($key in Get-ChildItem "Registry::HKEY_USERS\$sid\$lxss" -ErrorAction SilentlyContinue) {
            if ($key.GetValue('DistributionName')) {
                $user = (New-Object Security.Principal.SecurityIdentifier $sid).Translate([Security.Principal.NTAccount])
                @{ user = $user.Value; name = $key.GetValue('DistributionName') }
            }
        }
    }
})

# Imports of ours that have begun and not ended leave a mark beside the folder of the distribution.
$unfinished = @(Get-Answer 'unfinished' {
    Get-ChildItem -Path (Join-Path $env:LOCALAPPDATA 'llmdesk') -Filter '*.unfinished' -ErrorAction SilentlyContinue |
        ForEach-Object { $_.BaseName }
})

$msi = Get-Answer 'msi' {
    $version = Get-Value "$machineKey\Lxss\MSI" 'Version'
    if ($version) { @{ version = $version; location = Get-Value "$machineKey\Lxss\MSI" 'InstallLocation' } }
}
$store = Get-Answer 'store' {
    if (-not $msi) {
        $package = Get-AppxPackage -Name MicrosoftCorporationII.WindowsSubsystemForLinux | Select-Object -First 1
        if ($package) { @{ version = [string]$package.Version } }
    }
}

# A file with another encoding than UTF-8 shows by the sign U+FFFD.
$configPath = Join-Path $env:USERPROFILE '.wslconfig'
$config = Get-Answer 'wslconfig' { if (Test-Path -LiteralPath $configPath) { [IO.File]::ReadAllText($configPath) } }
# WSL reads the file when its virtual machine starts.
$stale = Get-Answer 'virtual machine' {
    $vm = Get-CimInstance Win32_Process -Filter "Name='vmmemWSL' OR Name='vmmem'" | Select-Object -First 1
    [bool]($vm -and $config -and (Get-Item -LiteralPath $configPath -Force).LastWriteTime -gt $vm.CreationDate)
}

$keepAlive = Get-Answer 'keep_alive' {
    $task = Get-ScheduledTask -TaskPath '\llmdesk\' -TaskName "keep-alive-$Distribution" -ErrorAction SilentlyContinue
    if ($task) {
        $action = @($task.Actions)[0]
        @{
            user = $task.Principal.UserId
            command = $action.Execute
            arguments = $action.Arguments
            running = [string]$task.State -eq 'Running'
        }
    }
}

$portproxy = @{}
Get-Answer 'portproxy' {
    $key = Get-Item 'HKLM:\SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp' -ErrorAction SilentlyContinue
    if ($key) { foreach ($name in $key.GetValueNames()) { $portproxy[$name] = [string]$key.GetValue($name) } }
}
# Read from the registry, for the cmdlet takes seconds.
$firewallRules = @(Get-Answer 'firewall_rules' {
    $key = Get-Item 'HKLM:\SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules'
    foreach ($name in $key.GetValueNames()) {
        if ([string]$key.GetValue($name) -match '\|Name=(llmdesk [^|]+)\|') { $Matches[1] }
    }
})
$hypervRules = @(Get-Answer 'hyperv_rules' {
    if (Get-Command Get-NetFirewallHyperVRule -ErrorAction SilentlyContinue) {
        Get-NetFirewallHyperVRule -Name 'llmdesk-*' -ErrorAction SilentlyContinue | ForEach-Object { $_.Name }
    }
})
$profiles = @(Get-Answer 'profiles' {
    Get-NetConnectionProfile -ErrorAction SilentlyContinue | ForEach-Object {
        @{ name = $_.Name; category = [string]$_.NetworkCategory }
    }
})
$owners = @{}
Get-Answer 'listening' {
    $programs = @{}
    Get-Process | ForEach-Object { $programs[[int]$_.Id] = $_.ProcessName }
    Get-NetTCPConnection -State Listen -ErrorAction SilentlyContinue | ForEach-Object {
        $owners[[string]$_.LocalPort] = [string]$programs[[int]$_.OwningProcess]
    }
}

$desktop = Get-Answer 'docker_desktop' {
    $key = "$machineKey\Uninstall\Docker Desktop"
    $version = Get-Value $key 'DisplayVersion'
    $folder = Get-Value $key 'InstallLocation'
    if (-not $folder) { $folder = Join-Path $env:ProgramFiles 'Docker\Docker' }
    if ($version -or (Test-Path -LiteralPath $folder)) {
        $file = Join-Path $env:APPDATA 'Docker\settings-store.json'
        # Decoded by hand, so that a byte order mark shows as U+FEFF.
        $settings = if (Test-Path -LiteralPath $file) { [Text.Encoding]::UTF8.GetString([IO.File]::ReadAllBytes($file)) }
        @{
            version = $version
            location = $folder
            program = Test-Path -LiteralPath (Join-Path $folder 'Docker Desktop.exe')
            running = [bool](Get-Process -Name 'Docker Desktop', 'com.docker.backend' -ErrorAction SilentlyContinue)
            settings = $settings
        }
    }
}

# AdapterRAM ends at 4 GB; the driver's own key has the whole number.
$gpus = @(Get-Answer 'gpus' {
    $class = 'HKLM:\SYSTEM\CurrentControlSet\Control\Class\{4d36e968-e325-11ce-bfc1-08002be10318}'
    foreach ($card in Get-CimInstance Win32_VideoController -Property Name, DriverVersion) {
        $memory = Get-ChildItem $class -ErrorAction SilentlyContinue |
            Where-Object { $_.GetValue('DriverDesc') -eq $card.Name } |
            ForEach-Object { $_.GetValue('HardwareInformation.qwMemorySize') } | Select-Object -First 1
        if ($memory -isnot [long]) { $memory = 0 }
        @{ name = $card.Name; driver = $card.DriverVersion; memory = [long]$memory }
    }
})

$Ansible.Changed = $false
$Ansible.Result = @{
    system = $system
    virtualisation = $virtualisation
    reboot_pending = $pending
    features = $features
    user = @{
        name = $identity.Name
        profile = $env:USERPROFILE
        sid = $identity.User.Value
        elevated = (New-Object Security.Principal.WindowsPrincipal $identity).IsInRole(
            [Security.Principal.WindowsBuiltInRole]::Administrator)
        local_system = $identity.IsSystem
        wsl_utf8 = [Environment]::GetEnvironmentVariable('WSL_UTF8', 'User')
    }
    console_user = $consoleUser
    drive = $drive
    memory = [long]$computer.TotalPhysicalMemory
    processors = [int]$computer.NumberOfLogicalProcessors
    wsl = @{
        msi = $msi
        store = $store
        inbox = Test-Path -LiteralPath (Join-Path $env:SystemRoot 'System32\wsl.exe')
        default_version = Get-Value "HKCU:\$lxss" 'DefaultVersion'
        default_distribution = Get-Value "HKCU:\$lxss" 'DefaultDistribution'
        distributions = $distributions
        other_users = $otherUsers
        vm_older_than_config = [bool]$stale
        unfinished = $unfinished
    }
    wslconfig = $config
    keep_alive = $keepAlive
    network = @{
        profiles = $profiles
        portproxy = $portproxy
        firewall_rules = $firewallRules
        hyperv_rules = $hypervRules
        listening = @($owners.Keys | ForEach-Object { [int]$_ })
        owners = $owners
    }
    ssh = @{ default_shell = Get-Value 'HKLM:\SOFTWARE\OpenSSH' 'DefaultShell' }
    docker_desktop = $desktop
    gpus = $gpus
    unknown = @($unknown)
}
