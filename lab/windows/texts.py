"""What Windows programs print, in the languages that the tests have.

The wording is the lab's own: nothing may depend on it. The codes are Windows' own, and the same in every language.
"""

from __future__ import annotations

CODE = {
    "en-US": "Error code: {code}",
    "zh-CN": "错误代码: {code}",
    "de-DE": "Fehlercode: {code}",
    "ja-JP": "エラー コード: {code}",
}
TEXTS = {
    "done": {
        "en-US": "That worked.",
        "zh-CN": "操作成功。",
        "de-DE": "Der Vorgang war erfolgreich.",
        "ja-JP": "操作に成功しました。",
    },
    "reboot": {
        "en-US": "That worked. The change is in effect once the computer has been restarted.",
        "zh-CN": "操作成功。重新启动计算机后更改才会生效。",
        "de-DE": "Der Vorgang war erfolgreich. Die Änderung wirkt erst nach einem Neustart.",
        "ja-JP": "操作に成功しました。変更を有効にするには、再起動が必要です。",
    },
    "not_installed": {
        "en-US": "There is no Windows Subsystem for Linux here. It is installed by 'wsl.exe --install'.",
        "zh-CN": "此处没有适用于 Linux 的 Windows 子系统。请用“wsl.exe --install”安装。",
        "de-DE": "Das Windows-Subsystem für Linux fehlt. „wsl.exe --install“ installiert es.",
        "ja-JP": "Linux 用 Windows サブシステムがありません。'wsl.exe --install' で入ります。",
    },
    "cannot_access": {
        # The one sentence that people search for, as Windows prints it.
        "en-US": "The file cannot be accessed by the system.",
        "zh-CN": "系统无法访问此文件。",
        "de-DE": "Auf die Datei kann vom System nicht zugegriffen werden.",
        "ja-JP": "このファイルにシステムからアクセスできません。",
    },
    "localhost_proxy": {
        "en-US": "wsl: Windows has a proxy on the loopback, which Linux cannot reach.",
        "zh-CN": "wsl: Windows 的代理在本机回环地址上 Linux 无法访问它。",
        "de-DE": "wsl: Der Proxy von Windows ist nur über die Loopback-Adresse zu erreichen, für Linux gar nicht.",
        "ja-JP": "wsl: Windows のプロキシはループバックにあり、Linux から届きません。",
    },
    "failed": {
        "en-US": "That did not work.",
        "zh-CN": "操作失败。",
        "de-DE": "Der Vorgang ist fehlgeschlagen.",
        "ja-JP": "操作に失敗しました。",
    },
}


def text(name: str, language: str, code: str = "") -> str:
    """Return a text, with an error code below it where there is one."""
    said = TEXTS[name][language]
    return f"{said}\n{CODE[language].format(code=code)}\n" if code else f"{said}\n"
