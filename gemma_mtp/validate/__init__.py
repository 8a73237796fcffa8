"""Will this pair work? Checks (one function each), a report, and the estimate of the memory that it takes."""

from gemma_mtp.validate.findings import Finding, Report, Result, Status
from gemma_mtp.validate.host import Host, context_for, parse_host
from gemma_mtp.validate.verify import verify_file, verify_pair

__all__ = [
    "Finding",
    "Host",
    "Report",
    "Result",
    "Status",
    "context_for",
    "parse_host",
    "verify_file",
    "verify_pair",
]
