# Runs a program in the session of the person who is logged on. A connection from outside has a session without a screen,
# where Windows starts neither winget nor a window; a scheduled task without a trigger reaches the other one.
[CmdletBinding(SupportsShouldProcess)]
param (
    [Parameter(Mandatory = $true)][string]$Program,
    [string]$Arguments = '',
    [Parameter(Mandatory = $true)][string]$User,
    # Emptied before; its programs are named afterwards.
    [string]$Folder = '',
    # Seconds until it has to have ended; 0 waits for its start alone.
    [int]$Wait = 0
)

$ErrorActionPreference = 'Stop'
$task = @{ TaskPath = '\llmdesk\'; TaskName = 'run-in-session' }
# How the scheduler says that a task has not run yet, waits, or runs.
$notYet = 0x41303, 0x41325
$runs = 0x41301

if (-not $PSCmdlet.ShouldProcess($Program, 'run')) { return }
if ($Folder) {
    if (Test-Path -LiteralPath $Folder) { Remove-Item -LiteralPath $Folder -Recurse -Force }
    $null = New-Item -Path $Folder -ItemType Directory -Force
}
$what = @{ Execute = $Program }
if ($Arguments) { $what.Argument = $Arguments }
$action = New-ScheduledTaskAction @what
$who = New-ScheduledTaskPrincipal -UserId $User -LogonType Interactive
$options = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries `
    -DontStopIfGoingOnBatteries
$null = Register-ScheduledTask @task -Action $action -Principal $who -Settings $options -Force
try {
    Start-ScheduledTask @task
    $deadline = (Get-Date).AddSeconds([Math]::Max($Wait, 30))
    do {
        Start-Sleep -Milliseconds 500
        $code = (Get-ScheduledTaskInfo @task).LastTaskResult
        $done = $code -notin $notYet -and ($code -ne $runs -or $Wait -eq 0)
    } until ($done -or (Get-Date) -gt $deadline)
    if (-not $done) { Stop-ScheduledTask @task }
} finally {
    Unregister-ScheduledTask @task -Confirm:$false
}
$files = @()
if ($Folder) { $files = @(Get-ChildItem -LiteralPath $Folder -Filter '*.exe' | ForEach-Object { $_.FullName }) }
$Ansible.Result = @{
    started = $code -notin $notYet
    exit_code = if ($done -and $code -ne $runs) { $code } else { $null }
    files = $files
}
