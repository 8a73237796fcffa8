"""docs/hosts.md is what its tool writes, and what it shows is what hosts can read."""

from __future__ import annotations

from gemma_mtp.hosts import HOSTS
from gemma_mtp.hosts.export import shown
from tools import document_hosts


def test_the_page_is_current():
    assert document_hosts.PAGE.read_text(encoding="utf-8") == document_hosts.page()


def test_every_host_has_its_words_there():
    page = document_hosts.page()
    for host in HOSTS:
        assert f"gemma-mtp export {host.name}`" in page
        assert host.checked.isoformat() in page
        assert all(limit in page for limit in host.limits)
        assert shown(host).strip() in page
