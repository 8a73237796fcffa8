"""A repo's place in a collection: made if needed, found again by its title or slug, with an up-to-date note."""

from __future__ import annotations

import re
from dataclasses import dataclass

from huggingface_hub import Collection, CollectionItem

from gemma_mtp.errors import EnvironmentProblem, UsageError
from gemma_mtp.hub.client import hub, retried
from gemma_mtp.hub.problems import explained

#: The Hub's own limits.
LONGEST_TITLE, LONGEST_NOTE = 59, 500
_SLUG = re.compile(r"[^/\s]+/[^/\s]+-[0-9a-f]{24}")


@dataclass(frozen=True)
class Shelf:
    """A collection by what the user called it: its slug (owner/title-<24 hex digits>) or its title.

    owner: who has, or will have, the collection with that title.
    """

    name: str
    owner: str

    def __post_init__(self) -> None:
        if "://" in self.name:
            raise UsageError(
                "this is an address, not a collection's title or slug",
                where=self.name,
                hint="write what follows collections/ in it: owner/title-<24 digits>",
            )
        if not self.name.strip() or (not self.is_slug and len(self.name) > LONGEST_TITLE):
            raise UsageError(f"a collection's title has 1 to {LONGEST_TITLE} characters", where=self.name)

    @property
    def is_slug(self) -> bool:
        return bool(_SLUG.fullmatch(self.name))


def find_collection(shelf: Shelf) -> Collection | None:
    """The collection with all of its items, if it exists. Raises EnvironmentProblem."""
    with explained(shelf.name):
        if shelf.is_slug:
            return retried(lambda: hub().get_collection(shelf.name))
        owned = retried(lambda: list(hub().list_collections(owner=shelf.owner)))
        # A listing shows some items of each collection only.
        slug = next((found.slug for found in owned if found.title == shelf.name), None)
        return retried(lambda: hub().get_collection(slug)) if slug else None


def put_into_collection(shelf: Shelf, repo: str, note: str, private: bool) -> Collection:
    """The collection, with `repo` in it once and with this note. Doing it again changes nothing.

    Raises EnvironmentProblem.
    """
    collection = find_collection(shelf)
    with explained(shelf.name):
        if collection is None:
            collection = retried(
                lambda: hub().create_collection(shelf.name, namespace=shelf.owner, private=private, exists_ok=True)
            )
        slug, note = collection.slug, note[:LONGEST_NOTE]
        item = _find_item(collection, repo)
        if item is None:
            collection = retried(lambda: hub().add_collection_item(slug, repo, "model", note=note, exists_ok=True))
            item = _find_item(collection, repo)
        if item is None:
            raise EnvironmentProblem("the collection did not take the repo", where=slug, hint="run it again")
        if item.note != note:
            object_id = item.item_object_id
            retried(lambda: hub().update_collection_item(slug, object_id, note=note))
    return collection


def _find_item(collection: Collection, repo: str) -> CollectionItem | None:
    return next((item for item in collection.items if item.item_type == "model" and item.item_id == repo), None)
