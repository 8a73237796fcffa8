"""The whole way in one go: convert, quantize, verify, push; what is done already is not done again."""

from gemma_mtp.make.job import Job
from gemma_mtp.make.jobs_file import read_jobs
from gemma_mtp.make.run import Made, StepResult, make, push_request
from gemma_mtp.make.schedule import Schedule, schedule
from gemma_mtp.make.selection import Entry, find_assistants, jobs_of

__all__ = [
    "Entry",
    "Job",
    "Made",
    "Schedule",
    "StepResult",
    "find_assistants",
    "jobs_of",
    "make",
    "push_request",
    "read_jobs",
    "schedule",
]
