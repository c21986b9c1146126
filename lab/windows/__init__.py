"""A Windows PC that is not there: a JSON file with what is true of it, and stand-ins for what asks and changes it.

There is no Windows here and no PowerShell. What stands in for them is thin, and says what is known of the real thing:

- :mod:`lab.windows.machine`: the PC, with its power switch.
- :mod:`lab.windows.wsl`: ``wsl.exe``.
- :mod:`lab.windows.docker_desktop`: Docker Desktop.
- :mod:`lab.windows.modules`: what the modules of ansible.windows and community.windows do to the PC.
- :mod:`lab.windows.collections`: those two collections, with the options of the real modules.
- :mod:`lab.windows.scenarios`: PCs to begin with.
- :mod:`lab.windows.sshd`: the same ``wsl.exe`` behind a real OpenSSH server, in front of a real Linux.

The sources, named where they are used: *the modules*, the .ps1 and the documentation of ansible.windows 3.3.0 and
community.windows 3.1.0; *WSL's source*, src/windows of github.com/microsoft/WSL; *Microsoft*, learn.microsoft.com on
WSL; *Docker*, docs.docker.com on Docker Desktop. What is marked *assumed* was not found written anywhere.
"""
