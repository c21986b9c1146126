# SPDX-License-Identifier: GPL-3.0-or-later
"""PowerShell, read by a real grammar and looked through for what an interpreter would stumble over.

No interpreter of PowerShell is part of the tests, so nothing here runs a script. What is looked for is what costs a
person an evening: what Windows PowerShell 5.1 does not parse, a misspelt cmdlet or parameter, a variable that nobody
has set, an alias.
"""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter
import tree_sitter_pwsh

GRAMMAR = tree_sitter.Parser(tree_sitter.Language(tree_sitter_pwsh.language()))

# The cmdlets that scripts here may use and those of their parameters, as Microsoft's reference has them for Windows
# PowerShell 5.1. Whoever needs one more looks it up there and adds it.
CMDLETS = {
    "Enable-WindowsOptionalFeature": {"Online", "FeatureName", "All", "NoRestart"},
    "ForEach-Object": {"Process"},
    "Get-AppxPackage": {"Name"},
    "Get-ChildItem": {"Path", "LiteralPath", "Filter"},
    "Get-CimInstance": {"ClassName", "Filter", "Property", "Namespace"},
    "Get-Command": {"Name"},
    "Get-Content": {"Path", "LiteralPath", "Raw", "Encoding"},
    "Get-Date": set(),
    "Get-Item": {"Path", "LiteralPath", "Force"},
    "Get-ItemProperty": {"Path", "LiteralPath", "Name"},
    "Get-NetConnectionProfile": set(),
    "Get-NetFirewallHyperVRule": {"Name"},
    "Get-NetTCPConnection": {"State", "LocalPort"},
    "Get-Process": {"Name", "Id"},
    "Get-ScheduledTask": {"TaskPath", "TaskName"},
    "Get-ScheduledTaskInfo": {"TaskPath", "TaskName"},
    "Get-Service": {"Name"},
    "Get-WindowsOptionalFeature": {"Online", "FeatureName"},
    "Invoke-CimMethod": {"InputObject", "MethodName", "Arguments"},
    "Join-Path": {"Path", "ChildPath"},
    "New-Item": {"Path", "ItemType", "Force"},
    "New-NetFirewallHyperVRule": {
        "Name", "DisplayName", "Direction", "VMCreatorId", "Protocol", "LocalPorts", "Action",
    },
    "New-Object": {"TypeName", "ArgumentList"},
    "New-ScheduledTaskAction": {"Execute", "Argument", "WorkingDirectory"},
    "New-ScheduledTaskPrincipal": {"UserId", "LogonType", "RunLevel"},
    "New-ScheduledTaskSettingsSet": {
        "ExecutionTimeLimit", "AllowStartIfOnBatteries", "DontStopIfGoingOnBatteries", "RestartCount",
        "RestartInterval",
    },
    "New-ScheduledTaskTrigger": {"AtLogOn", "AtStartup", "User"},
    "New-TimeSpan": {"Minutes"},
    "Out-Host": set(),
    "Out-Null": set(),
    "Read-Host": {"Prompt"},
    "Register-ScheduledTask": {
        "TaskPath", "TaskName", "Description", "Action", "Principal", "Settings", "Trigger", "Force",
    },
    "Remove-Item": {"Path", "LiteralPath", "Recurse", "Force"},
    "Remove-NetFirewallHyperVRule": {"Name"},
    "Resolve-Path": {"Path", "LiteralPath"},
    "Restart-Computer": {"Force"},
    "Select-Object": {"First", "Property", "ExpandProperty"},
    "Set-ItemProperty": {"Path", "LiteralPath", "Name", "Value"},
    "Set-StrictMode": {"Version"},
    "Start-Process": {"FilePath", "ArgumentList", "Verb", "Wait", "PassThru", "NoNewWindow", "WindowStyle"},
    "Start-ScheduledTask": {"TaskPath", "TaskName"},
    "Start-Sleep": {"Seconds", "Milliseconds"},
    "Stop-Process": {"Name", "Id", "Force"},
    "Stop-ScheduledTask": {"TaskPath", "TaskName"},
    "Test-Path": {"Path", "LiteralPath"},
    "Unregister-ScheduledTask": {"TaskPath", "TaskName"},
    "Where-Object": {"FilterScript"},
    "Write-Information": {"MessageData"},
    "Write-Warning": {"Message"},
}  # fmt: skip
COMMON = {"Confirm", "ErrorAction", "InformationAction", "WarningAction", "WhatIf"}

# Programs of Windows that are called by their own names.
PROGRAMS = {"netsh", "wsl.exe", "wsl"}

# Out of Microsoft's list of approved verbs, those that are used.
VERBS = {
    "Add", "Assert", "Confirm", "Get", "Install", "Invoke", "New", "Register", "Remove", "Restart", "Set", "Start",
    "Stop", "Test", "Update", "Wait", "Write",
}  # fmt: skip
CHANGING_VERBS = {"New", "Register", "Remove", "Restart", "Set", "Start", "Stop", "Update"}

# Set by PowerShell itself, or, for the last, by ansible.windows.win_powershell.
AUTOMATIC = {
    "_", "?", "args", "error", "erroractionpreference", "false", "input", "informationpreference", "lastexitcode",
    "matches", "null", "progresspreference", "psboundparameters", "pscmdlet", "pscommandpath", "psscriptroot", "pwd",
    "this", "true", "whatifpreference", "ansible",
}  # fmt: skip

ONLY_IN_7 = {"&&", "||", "?", "??", "??=", "?.", "?["}
"""Operators that Windows PowerShell 5.1 does not know."""


def parse(text: str) -> tree_sitter.Node:
    """Return the tree of a script."""
    return GRAMMAR.parse(text.encode()).root_node


def problems(text: str) -> list[str]:
    """Return what is wrong with a script, each with its line; empty for one that is right."""
    tree = parse(text)
    if tree.has_error:
        broken = next(node for node in walk(tree) if node.type == "ERROR" or node.is_missing)
        return [_at(broken, "PowerShell would not parse this")]
    functions = {_text(_child(node, "function_name")): node for node in walk(tree, "function_statement")}
    found = [
        f"line {number}: not ASCII, which Windows PowerShell reads in the code page of the country"
        for number, line in enumerate(text.splitlines(), start=1)
        if not line.isascii()
    ]
    for node in walk(tree):
        if node.type in ONLY_IN_7 and not node.is_named:
            found.append(_at(node, f"Windows PowerShell 5.1 knows no {node.type}"))
        if node.type == "try_statement" and not {"catch_clauses", "finally_clause"} & {c.type for c in node.children}:
            found.append(_at(node, "try without catch or finally"))
        if node.type == "command":
            found += _command(node, functions)
    for name, node in functions.items():
        found += _function(name, node)
    return found + list(_variables(tree))


def walk(node: tree_sitter.Node, kind: str = "") -> Iterator[tree_sitter.Node]:
    """Yield a node and everything below it, of one type where that is given."""
    if kind in ("", node.type):
        yield node
    for child in node.children:
        yield from walk(child, kind)


def parameters(node: tree_sitter.Node) -> list[str]:
    """Return the names of a script's or a function's own parameters."""
    block = next((n for n in _body(node) if n.type == "param_block"), None)
    return [_text(_child(found, "variable"))[1:] for found in walk(block, "script_parameter")] if block else []


def _body(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """Return the children of a script or of a function's block."""
    return list((_child(node, "script_block") if node.type == "function_statement" else node).children)


def _command(node: tree_sitter.Node, functions: dict[str, tree_sitter.Node]) -> Iterator[str]:
    name = next((_text(child) for child in node.children if child.type == "command_name"), None)
    if name is None or name in PROGRAMS:  # By the operator &, a program whose path stands in a variable.
        return
    if name not in CMDLETS and name not in functions:
        yield _at(node, f"{name} is an alias, misspelt, or not in this module's list of cmdlets")
        return
    known = set(parameters(functions[name])) if name in functions else CMDLETS[name]
    elements = next((child for child in node.children if child.type == "command_elements"), None)
    for element in elements.children if elements else []:
        if element.type == "command_parameter":
            parameter = _text(element).strip().split(":")[0].removeprefix("-")
            if parameter not in known | COMMON:
                yield _at(element, f"{name} has no parameter -{parameter}, only {', '.join(sorted(known))}")


def _function(name: str, node: tree_sitter.Node) -> Iterator[str]:
    verb, _hyphen, noun = name.partition("-")
    if verb not in VERBS:
        yield _at(node, f"{name}: {verb} is no approved verb")
    if not noun or (noun.endswith("s") and noun != "Windows"):
        yield _at(node, f"{name}: a noun in the singular comes after the verb")
    if verb in CHANGING_VERBS and "SupportsShouldProcess" not in _text(_child(node, "script_block")):
        yield _at(node, f"{name} changes something and does not support -WhatIf")


def _variables(tree: tree_sitter.Node) -> Iterator[str]:
    """Look for variables that are read and never set, and the other way round.

    A function sees what its callers have set, so everything set anywhere counts as set.
    """
    written: dict[str, tree_sitter.Node] = {}
    read: dict[str, tree_sitter.Node] = {}
    for node in walk(tree, "variable"):
        name = _text(node).lstrip("$@").strip("{}").lower()
        if ":" in name or name in AUTOMATIC or _text(node) == "$$":
            continue
        sets = _sets(node)
        if sets in ("writes", "both"):
            written.setdefault(name, node)
        if sets in ("reads", "both"):
            read.setdefault(name, node)
    for name, node in read.items():
        if name not in written:
            yield _at(node, f"${name} is read, and nothing sets it")
    for name, node in written.items():
        if name not in read:
            yield _at(node, f"${name} is set, and nothing reads it")


def _sets(node: tree_sitter.Node) -> str:
    """Return whether a variable is read or written where it stands."""
    inner, outer = node, node.parent
    while outer is not None and outer.type not in ("statement_list", "program"):
        if outer.type in ("script_parameter",) and inner.type == "variable":
            return "writes"
        if outer.type == "foreach_statement" and inner.type == "variable":
            return "writes"
        if outer.type == "assignment_expression" and inner.type == "left_assignment_expression":
            plain = not any(n.type in ("member_access", "element_access") for n in walk(inner))
            increments = any(_text(n) not in ("=",) for n in outer.children if n.type == "assignment_operator")
            return ("both" if increments else "writes") if plain else "reads"
        if outer.type in ("post_increment_expression", "pre_increment_expression"):
            return "both"
        inner, outer = outer, outer.parent
    return "reads"


def _child(node: tree_sitter.Node, kind: str) -> tree_sitter.Node:
    return next(child for child in node.children if child.type == kind)


def _text(node: tree_sitter.Node) -> str:
    return (node.text or b"").decode()


def _at(node: tree_sitter.Node, what: str) -> str:
    return f"line {node.start_point.row + 1}: {what}"
