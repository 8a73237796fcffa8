"""Publishing assistants on the Hub.

files -> checks -> what the repo holds -> plan (files, card, collection) -> one commit -> hashes compared
"""

from gemma_mtp.publish.files import Push, push_files
from gemma_mtp.publish.plan import Plan, PushRequest, Upload, plan_push
from gemma_mtp.publish.upload import Outcome, push, require_login

__all__ = ["Outcome", "Plan", "Push", "PushRequest", "Upload", "plan_push", "push", "push_files", "require_login"]
