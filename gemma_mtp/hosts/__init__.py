"""The hosts that people use: what each wants to be told about a pair, and whether a server that runs now drafts.

A host is a record in `table.py`. What kinds of output there are, each in a file of its own: `command_line.py`,
`preset.py`, `modelfile.py`, `yaml_file.py`, `folder.py`.
"""

from gemma_mtp.hosts.asking import ServerReport, Verdict, Witness, ask_server
from gemma_mtp.hosts.export import Export, Wishes, export_pair, find_host
from gemma_mtp.hosts.record import HostRecord
from gemma_mtp.hosts.table import HOSTS

__all__ = [
    "HOSTS",
    "Export",
    "HostRecord",
    "ServerReport",
    "Verdict",
    "Wishes",
    "Witness",
    "ask_server",
    "export_pair",
    "find_host",
]
