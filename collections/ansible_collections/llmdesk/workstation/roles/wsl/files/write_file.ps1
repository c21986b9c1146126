# Writes a text file as UTF-8 without a byte order mark. The new file takes the old one's place in one step, so that the
# old or the new text is there whenever the power fails; the old one stays beside it with the ending .bak.
[CmdletBinding(SupportsShouldProcess)]
param (
    [Parameter(Mandatory = $true)][string]$Path,
    [Parameter(Mandatory = $true)][AllowEmptyString()][string]$Text
)

$ErrorActionPreference = 'Stop'
$new = "$Path.new"
if ($PSCmdlet.ShouldProcess($Path, 'write')) {
    [IO.File]::WriteAllText($new, $Text, (New-Object Text.UTF8Encoding $false))
    if (Test-Path -LiteralPath $Path) { [IO.File]::Replace($new, $Path, "$Path.bak") }
    else { [IO.File]::Move($new, $Path) }
}
