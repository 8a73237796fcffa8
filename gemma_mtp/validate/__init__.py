"""Will this pair work? Checks (one function each), a report, and the estimate of the memory that it takes."""

from gemma_mtp.validate.describe import Description, describe_file
from gemma_mtp.validate.findings import Finding, Report, Result, Status
from gemma_mtp.validate.host import Host, context_for, parse_host
from gemma_mtp.validate.verify import verify_pair

__all__ = [
    "Description",
    "Finding",
    "Host",
    "Report",
    "Result",
    "Status",
    "context_for",
    "describe_file",
    "parse_host",
    "verify_pair",
]
