# Stops Docker Desktop: by its own command, which lets containers end, and by force where that does not help.
[CmdletBinding(SupportsShouldProcess)]
param (
    [Parameter(Mandatory = $true)][string]$Location
)

$ErrorActionPreference = 'Stop'
$names = 'Docker Desktop', 'com.docker.backend'
$docker = "$Location\resources\bin\docker.exe"

if (-not $PSCmdlet.ShouldProcess('Docker Desktop', 'stop')) { return }
if (Test-Path -LiteralPath $docker) {
    # Versions before 4.37 do not know it, and say so to nobody.
    Start-Process -FilePath $docker -ArgumentList 'desktop', 'stop', '--timeout', '60' -Wait -WindowStyle Hidden
}
$deadline = (Get-Date).AddSeconds(10)
while ((Get-Process -Name $names -ErrorAction SilentlyContinue) -and (Get-Date) -lt $deadline) {
    Start-Sleep -Milliseconds 500
}
Get-Process -Name $names -ErrorAction SilentlyContinue | Stop-Process -Force
$Ansible.Result = @{ stopped = -not (Get-Process -Name $names -ErrorAction SilentlyContinue) }
