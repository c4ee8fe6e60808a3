"""Why an event becomes a dead letter. Each reason is a metric's label and a dead letter's header: the set is closed."""

EMPTY = "empty"
NOT_JSON = "not_json"
INVALID = "invalid"
INVALID_CLOUDEVENT = "invalid_cloudevent"
UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
MISSING_KEY = "missing_key"
WRONG_KEY = "wrong_key"
PROCESSING_FAILED = "processing_failed"
KILLS_WORKER = "kills_worker"

REASONS = {
    EMPTY: "the record has no value",
    NOT_JSON: "the value is not JSON",
    INVALID: "the value is JSON, but not a click: a field is missing, or has a value that it cannot have",
    INVALID_CLOUDEVENT: "the record says that it is a CloudEvent, but is not a complete one of version 1.0",
    UNSUPPORTED_CONTENT_TYPE: "the content-type header names a format other than JSON",
    MISSING_KEY: "the record has no key; it must be the session id",
    WRONG_KEY: "the record's key is not the session id",
    PROCESSING_FAILED: "the event is valid, but making its list raised an error: a fault of nextclick's",
    KILLS_WORKER: "worker after worker ended without a word while it had this event in hand, and nothing else",
}
