# Registers the task that keeps a distribution running, for a user whose password nobody gave (S4U).
# community.windows.win_scheduled_task refuses that: it wants a password, with which Windows then refuses the task.
[CmdletBinding(SupportsShouldProcess)]
param (
    [Parameter(Mandatory = $true)][string]$Name,
    [Parameter(Mandatory = $true)][string]$User,
    [Parameter(Mandatory = $true)][string]$Command,
    [Parameter(Mandatory = $true)][string]$Arguments,
    [string]$Description = ''
)

$ErrorActionPreference = 'Stop'
if ($PSCmdlet.ShouldProcess($Name, 'register the task')) {
    $action = New-ScheduledTaskAction -Execute $Command -Argument $Arguments
    $who = New-ScheduledTaskPrincipal -UserId $User -LogonType S4U
    # A task may run three days, and none on batteries, unless somebody says otherwise.
    $options = New-ScheduledTaskSettingsSet -ExecutionTimeLimit ([TimeSpan]::Zero) -AllowStartIfOnBatteries `
        -DontStopIfGoingOnBatteries -RestartCount 3 -RestartInterval (New-TimeSpan -Minutes 1)
    $when = @((New-ScheduledTaskTrigger -AtStartup), (New-ScheduledTaskTrigger -AtLogOn -User $User))
    $null = Register-ScheduledTask -TaskPath '\llmdesk\' -TaskName $Name -Description $Description -Action $action `
        -Principal $who -Settings $options -Trigger $when -Force
}
