"""The stand-in for AWS, with what it lacks and DynamoDB documents: a table can be named by its ARN, too.

Only its own account's credentials reach it so, and the answer bills what was asked: an ARN for an ARN. It is a script.
"""

import json
import re
from typing import Any

from ministack.app import main
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import dynamodb

_ARN = re.compile(rb'"arn:aws:dynamodb:([a-z0-9-]+):([0-9]{12}):table/([A-Za-z0-9_.-]+)"')
_by_name = dynamodb.handle_request


async def _by_arn(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
    """As documented: credentials of another account are refused where no policy of the table lets them in."""
    asked = {name.decode(): (region.decode(), account.decode()) for region, account, name in _ARN.findall(body)}
    for region, account in asked.values():
        if region != get_region():
            return error_response_json("ValidationException", f"Invalid table ARN: not of {get_region()}", 400)
        if account != get_account_id():
            return error_response_json("AccessDeniedException", "no resource-based policy allows it", 400)
    status, answered, data = await _by_name(method, path, headers, _ARN.sub(rb'"\3"', body), query)
    answer = json.loads(data)
    bills = answer.get("ConsumedCapacity") or []
    for bill in [bills] if isinstance(bills, dict) else bills:
        if bill["TableName"] in asked:
            region, account = asked[bill["TableName"]]
            bill["TableName"] = f"arn:aws:dynamodb:{region}:{account}:table/{bill['TableName']}"
    if not asked:
        return status, answered, data
    answered.pop("x-amz-crc32", None)
    return status, answered, json.dumps(answer).encode()


if __name__ == "__main__":
    dynamodb.handle_request = _by_arn
    main()
