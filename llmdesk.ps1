#Requires -Version 5.1
# SPDX-License-Identifier: GPL-3.0-or-later
<#
.SYNOPSIS
    From a plain Windows 11 to the page that answers: WSL, a Linux in it, and './llmdesk up' in there.

.DESCRIPTION
    Looks at what is there, does only what is missing, and says so. Run it again whenever you like. Where Windows has to
    restart, it asks before, and carries on by itself once you have logged on again.

      1. The feature VirtualMachinePlatform, WSL, and a task that keeps WSL running. Windows asks for an administrator.
      2. Two time-outs in %USERPROFILE%\.wslconfig, where they are not set yet. Everything else in the file stays.
      3. The distribution, for the user who runs this.
      4. A copy of the folder that this script lies in, as /opt/llmdesk in the distribution, and './llmdesk up' there.

    Exit code: 0 when the page answers, 3010 when Windows has to restart first, else 1.

.PARAMETER Distribution
    Its name, as 'wsl --list --online' shows it. One that is there already is used as it is.

.PARAMETER RootFile
    A file to make the distribution of, instead of a download: ubuntu.wsl, rootfs.tar.gz.

.PARAMETER WslPackage
    The .msi of WSL on a disk or a share, instead of a download.

.PARAMETER Proxy
    The way out of your network, such as http://proxy.example.com:3128. Without it, Windows' own; 'none' for none.

.PARAMETER Model
    The model to have, such as llama3.2:1b, or auto for the best that this PC is good for.

.PARAMETER Port
    The page's port, 3000 when not given.

.PARAMETER Restart
    Whether Windows may be restarted, where it has to be: Ask, Yes or No.

.PARAMETER Part
    All, or what the script runs itself as an administrator: System.

.PARAMETER User
    For Part System: whose distribution it is.

.PARAMETER Resumed
    Set by the script itself after a restart.

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File .\llmdesk.ps1

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File .\llmdesk.ps1 -WhatIf

    Only says what would be done.

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File .\llmdesk.ps1 -Model auto -Proxy http://proxy.example.com:3128

.EXAMPLE
    powershell -ExecutionPolicy Bypass -File .\llmdesk.ps1 -WslPackage E:\wsl.msi -RootFile E:\ubuntu.wsl

    Without the internet, as far as Windows is concerned.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
    [switch]$Resumed,
    [string]$Distribution = 'Ubuntu-24.04',
    [string]$RootFile = '',
    [string]$WslPackage = '',
    [string]$Proxy = '',
    [string]$Model = '',
    [ValidateRange(0, 65535)][int]$Port = 0,
    [ValidateSet('Ask', 'Yes', 'No')][string]$Restart = 'Ask',
    [ValidateSet('All', 'System')][string]$Part = 'All',
    [string]$User = ''
)

# This file is ASCII alone: Windows PowerShell reads one without a BOM in the code page of the country.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
# Else wsl.exe writes UTF-16 into pipes.
$env:WSL_UTF8 = '1'

$Lxss = 'Software\Microsoft\Windows\CurrentVersion\Lxss'
$RestartNeeded = 3010 # ERROR_SUCCESS_REBOOT_REQUIRED, which msiexec ends with as well.
$Bound = $PSBoundParameters

function Write-Step {
    param([Parameter(Mandatory)][string]$Text)
    Write-Information -MessageData "llmdesk: $Text" -InformationAction Continue
}

# What this PC has. Nothing here depends on the language of Windows: the registry and the services are asked.
function Get-DeskState {
    $identity = [Security.Principal.WindowsIdentity]::GetCurrent()
    $principal = [Security.Principal.WindowsPrincipal]$identity
    $feature = Get-CimInstance -ClassName Win32_OptionalFeature -Filter "Name='VirtualMachinePlatform'"
    $computer = Get-CimInstance -ClassName Win32_ComputerSystem
    $processor = Get-CimInstance -ClassName Win32_Processor | Select-Object -First 1
    $package = Get-Item -Path "HKLM:\$Lxss\MSI" -ErrorAction SilentlyContinue
    $task = Get-ScheduledTask -TaskPath '\llmdesk\' -TaskName "keep-alive-$Distribution" -ErrorAction SilentlyContinue
    $names = @(Get-ChildItem -Path "HKCU:\$Lxss" -ErrorAction SilentlyContinue | ForEach-Object -Process {
            $_.GetValue('DistributionName')
        })
    [pscustomobject]@{
        Build          = [Environment]::OSVersion.Version.Build
        Server         = (Get-CimInstance -ClassName Win32_OperatingSystem).ProductType -ne 1
        User           = $identity.Name
        System         = $identity.IsSystem
        Elevated       = $principal.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
        # The second is false once a hypervisor runs.
        Virtualisation = $computer.HypervisorPresent -or $processor.VirtualizationFirmwareEnabled
        Feature        = $null -ne $feature -and $feature.InstallState -eq 1
        # It comes with the feature, and not before the restart that the feature asks for.
        Platform       = $null -ne (Get-Service -Name vmcompute -ErrorAction SilentlyContinue)
        Wsl            = if ($package) { "$($package.GetValue('InstallLocation'))\wsl.exe" } else { '' }
        KeptAlive      = $null -ne $task
        Distributed    = $names -contains $Distribution
        Free           = ([IO.DriveInfo]$env:SystemDrive).AvailableFreeSpace
    }
}

# Stops with what has to be done first by a person.
function Assert-Possible {
    param([Parameter(Mandatory)][pscustomobject]$State)
    if ($env:PROCESSOR_ARCHITECTURE -ne 'AMD64') {
        throw "An x86-64 Windows and its 64-bit PowerShell are needed, and this is $env:PROCESSOR_ARCHITECTURE."
    }
    if ($State.Build -lt 22621) { throw "Windows 11 22H2 is needed; this is build $($State.Build). Update Windows." }
    if ($State.Server) { Write-Warning -Message 'This is a Windows Server. llmdesk is made for Windows 11.' }
    if ($State.System) { throw 'WSL refuses the account SYSTEM. Run this as the person who will use it.' }
    if (-not $State.Virtualisation) {
        throw 'Virtualisation is off in the firmware. Switch it on there (VT-x, AMD-V or SVM), and run this again.'
    }
    if (-not $State.Distributed -and $State.Free -lt 20GB) {
        throw "$env:SystemDrive has $([int]($State.Free / 1GB)) GB free; 20 GB are needed. Make room, and try again."
    }
    if (-not (Test-Path -Path (Join-Path -Path $PSScriptRoot -ChildPath 'llmdesk'))) {
        throw "$PSScriptRoot holds this script alone. Unpack or clone all of llmdesk, and run it from there."
    }
}

# Runs a program and stops where it fails.
function Invoke-Program {
    param([Parameter(Mandatory)][string]$Path, [Parameter(Mandatory)][string[]]$ArgumentList)
    & $Path @ArgumentList
    if ($LASTEXITCODE -ne 0) { throw "'$Path $ArgumentList' ended with $LASTEXITCODE; the reason stands above." }
}

# The part for which an administrator is needed. Tells whether Windows has to restart.
function Install-System {
    [CmdletBinding(SupportsShouldProcess)]
    [OutputType([bool])]
    param([Parameter(Mandatory)][pscustomobject]$State)
    $needed = $false
    if (-not $State.Feature -and $PSCmdlet.ShouldProcess('VirtualMachinePlatform', 'Enable the feature of Windows')) {
        Write-Step -Text 'enabling the feature VirtualMachinePlatform'
        $answer = Enable-WindowsOptionalFeature -Online -FeatureName VirtualMachinePlatform -All -NoRestart
        $needed = $answer.RestartNeeded
    }
    if (-not $State.Wsl -and $PSCmdlet.ShouldProcess('WSL', 'Install')) {
        Write-Step -Text 'installing WSL'
        if ($WslPackage) {
            $options = '/i', "`"$WslPackage`"", '/qn', '/norestart'
            $installer = Start-Process -FilePath msiexec.exe -ArgumentList $options -Wait -PassThru
            if ($installer.ExitCode -notin 0, $RestartNeeded) { throw "msiexec ended with $($installer.ExitCode)." }
            $needed = $needed -or $installer.ExitCode -eq $RestartNeeded
        } else {
            $inbox = Join-Path -Path $env:SystemRoot -ChildPath 'System32\wsl.exe'
            # Its exit code says little; what came of it is looked at.
            $options = '--install', '--no-distribution', '--web-download'
            Start-Process -FilePath $inbox -ArgumentList $options -Wait -NoNewWindow
        }
        if (-not (Get-DeskState).Wsl) {
            throw 'WSL did not come. Download its .msi on another PC, and give it with -WslPackage.'
        }
    }
    if (-not $State.KeptAlive -and $PSCmdlet.ShouldProcess("keep-alive-$Distribution", 'Register the task')) {
        $program = Join-Path -Path $env:ProgramFiles -ChildPath 'WSL\wsl.exe'
        $sleep = "--distribution $Distribution --exec sleep infinity"
        $action = New-ScheduledTaskAction -Execute $program -Argument $sleep
        # S4U: without a window, and without a password.
        $who = New-ScheduledTaskPrincipal -UserId $User -LogonType S4U
        $options = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries `
            -DontStopIfGoingOnBatteries
        $when = @((New-ScheduledTaskTrigger -AtStartup), (New-ScheduledTaskTrigger -AtLogOn -User $User))
        $null = Register-ScheduledTask -TaskPath '\llmdesk\' -TaskName "keep-alive-$Distribution" -Action $action `
            -Principal $who -Settings $options -Trigger $when -Force
    }
    return $needed
}

# The same in a window of an administrator. Tells whether Windows has to restart.
function Start-SystemPart {
    [CmdletBinding(SupportsShouldProcess)]
    [OutputType([bool])]
    param([Parameter(Mandatory)][pscustomobject]$State)
    if ($State.Elevated -or $WhatIfPreference) { return Install-System -State $State }
    if (-not $PSCmdlet.ShouldProcess('Windows', 'Ask for an administrator')) { return $false }
    Write-Step -Text 'Windows asks for an administrator now: a feature, WSL, and a task are missing'
    $options = '-NoProfile', '-ExecutionPolicy', 'Bypass', '-File', "`"$PSCommandPath`"", '-Part', 'System',
    '-User', "`"$($State.User)`"", '-Distribution', "`"$Distribution`""
    if ($WslPackage) { $options += '-WslPackage', "`"$WslPackage`"" }
    $child = Start-Process -FilePath powershell.exe -ArgumentList $options -Verb RunAs -Wait -PassThru
    if ($child.ExitCode -notin 0, $RestartNeeded) { throw 'The other window has said why that failed. Then try again.' }
    return $child.ExitCode -eq $RestartNeeded
}

# Lets Windows run this once more when the user has logged on, and asks for the restart.
function Restart-Windows {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    $command = "cmd.exe /k powershell.exe -ExecutionPolicy Bypass -File `"$PSCommandPath`" -Resumed"
    foreach ($name in $Bound.Keys | Where-Object -FilterScript { $_ -notin 'Resumed', 'WhatIf', 'Confirm' }) {
        $command += " -$name `"$($Bound[$name])`""
    }
    if (-not $PSCmdlet.ShouldProcess('Windows', 'Restart, and carry on afterwards')) { return }
    if ($command.Length -le 260) {
        # The most that RunOnce takes. It removes itself before it runs.
        $runOnce = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\RunOnce'
        if (-not (Test-Path -Path $runOnce)) { $null = New-Item -Path $runOnce }
        Set-ItemProperty -Path $runOnce -Name 'llmdesk' -Value $command
        Write-Step -Text 'Windows has to restart. Log on again, and this carries on by itself.'
    } else {
        Write-Step -Text "Windows has to restart. Log on again, and run $PSCommandPath once more."
    }
    $may = $Restart -eq 'Yes'
    if ($Restart -eq 'Ask' -and [Environment]::UserInteractive) {
        $may = $PSCmdlet.ShouldContinue('Restart Windows now? Save your work first.', 'llmdesk')
    }
    if ($may) { Restart-Computer -Force }
}

# WSL ends what nobody looks at, and the page with it. A time-out that is set already is left as it is.
function Set-WslConfig {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    $file = Join-Path -Path $env:USERPROFILE -ChildPath '.wslconfig'
    $lines = [Collections.Generic.List[string]]@()
    if (Test-Path -Path $file) { $lines.AddRange([IO.File]::ReadAllLines($file)) }
    $before = $lines.Count
    foreach ($setting in @('wsl2', 'vmIdleTimeout'), @('general', 'instanceIdleTimeout')) {
        $section, $key = $setting
        if ($lines -match "^\s*$key\s*=") { continue }
        $at = $lines.FindIndex({ param($line) $line -match "^\s*\[$section\]" })
        if ($at -lt 0) {
            $lines.Add("[$section]")
            $at = $lines.Count - 1
        }
        $lines.Insert($at + 1, "$key=-1")
    }
    if ($lines.Count -gt $before -and $PSCmdlet.ShouldProcess($file, 'Let WSL run on while nobody looks at it')) {
        Write-Step -Text "setting time-outs in $file; they hold from the next 'wsl --shutdown' on"
        # UTF-8 without a BOM, which is what WSL reads.
        [IO.File]::WriteAllLines($file, $lines)
    }
}

function Install-Distribution {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][pscustomobject]$State)
    if ($State.Distributed -or -not $PSCmdlet.ShouldProcess($Distribution, 'Install the distribution')) { return }
    Write-Step -Text "installing $Distribution"
    $options = @('--install', $Distribution, '--no-launch', '--web-download')
    if ($RootFile) { $options = @('--install', '--from-file', $RootFile, '--name', $Distribution, '--no-launch') }
    Invoke-Program -Path $State.Wsl -ArgumentList $options
    # It may end with 0 and have installed nothing.
    if (-not (Get-DeskState).Distributed) {
        throw "WSL installed no $Distribution. 'wsl --list --online' shows the names. Restart Windows, and try again."
    }
}

# The proxy as the distribution reaches it, empty for none.
function Get-DeskProxy {
    [OutputType([string])]
    param()
    $found = $Proxy
    if (-not $Proxy) {
        $target = [uri]'https://github.com/'
        $answer = [Net.WebRequest]::GetSystemWebProxy().GetProxy($target)
        if ($null -ne $answer -and $answer.Host -ne $target.Host) { $found = $answer.AbsoluteUri.TrimEnd('/') }
    }
    if (-not $found -or $found -eq 'none') { return '' }
    if (([uri]$found).IsLoopback) {
        Write-Warning -Message ("The proxy $found listens on 127.0.0.1, where no container reaches it: not used. " +
            "Let it listen on the network ('Allow LAN'), and give -Proxy http://THIS-PC:$(([uri]$found).Port).")
        return ''
    }
    return $found
}

function Start-Desk {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][pscustomobject]$State)
    $what = "Copy $PSScriptRoot to /opt/llmdesk where that is not there, and run './llmdesk up'"
    if (-not $PSCmdlet.ShouldProcess($Distribution, $what)) { return }
    $inside = '-d', $Distribution, '-u', 'root', '--cd'
    # Without modes: on a drive of Windows everybody may write to everything, and Ansible ignores such a folder.
    $copy = 'test -e /opt/llmdesk || { rm -rf /opt/llmdesk.new && cp -r --no-preserve=mode . /opt/llmdesk.new' +
    ' && chmod +x /opt/llmdesk.new/llmdesk && mv /opt/llmdesk.new /opt/llmdesk; }'
    Invoke-Program -Path $State.Wsl -ArgumentList ($inside + $PSScriptRoot, '--exec', 'sh', '-c', $copy)
    $up = @('./llmdesk', 'up')
    if ($Model) { $up += '--model', $Model }
    if ($Port) { $up += '--port', "$Port" }
    $way = Get-DeskProxy
    if ($way) {
        # For the launcher and apt, and, kept, for the desk.
        $up = @('env', "http_proxy=$way", "https_proxy=$way") + $up
        $file = 'inventory/group_vars/desks/main.yml'
        $keep = "test -e $file || { mkdir -p inventory/group_vars/desks && echo 'desk_proxy: {http: $way}' > $file; }"
        Write-Step -Text "going through $way, which stands in /opt/llmdesk/$file"
        Invoke-Program -Path $State.Wsl -ArgumentList ($inside + '/opt/llmdesk', '--exec', 'sh', '-c', $keep)
    }
    Invoke-Program -Path $State.Wsl -ArgumentList ($inside + '/opt/llmdesk', '--exec' + $up)
    Write-Step -Text "later:  wsl -d $Distribution -u root --cd /opt/llmdesk --exec ./llmdesk status"
}

# --------------------------------------------------------------------------------------------------------------------

try {
    $state = Get-DeskState
    Assert-Possible -State $state
    if (-not $User) { $User = $state.User }
    # The window of an administrator, and the run after a restart, begin in another folder.
    if ($WslPackage) { $Bound['WslPackage'] = $WslPackage = (Resolve-Path -LiteralPath $WslPackage).ProviderPath }
    if ($RootFile) { $Bound['RootFile'] = $RootFile = (Resolve-Path -LiteralPath $RootFile).ProviderPath }
    if ($Part -eq 'System') {
        if (Install-System -State $state) { exit $RestartNeeded }
        exit 0
    }
    $restarts = $false
    if (-not ($state.Feature -and $state.Wsl -and $state.KeptAlive)) {
        $restarts = Start-SystemPart -State $state
        $state = Get-DeskState
    }
    if ($restarts -or ($state.Feature -and -not $state.Platform)) {
        if ($Resumed) { throw 'Windows has restarted, and VirtualMachinePlatform is not at work. Run Windows Update.' }
        Restart-Windows
        exit $RestartNeeded
    }
    Set-WslConfig
    Install-Distribution -State $state
    Start-Desk -State (Get-DeskState)
    exit 0
} catch {
    Write-Step -Text "$($_.Exception.Message)"
    # The window of an administrator closes by itself.
    if ($Part -eq 'System' -and [Environment]::UserInteractive) { $null = Read-Host -Prompt 'Enter closes this window' }
    exit 1
}
