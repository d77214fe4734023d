"""Names of the server's metrics that tests look at."""
ACTIVE = "ingot_active_requests"
RUNNING = "ingot_running_sequences"  # a request for several texts is several
WAITING = "ingot_waiting_sequences"
REQUESTS = "ingot_requests_total"
CANCELLED = "ingot_cancelled_total"
PROMPTED = "ingot_prompt_tokens_total"
GENERATED = "ingot_generated_tokens_total"
SEQUENCES = "ingot_sequence_memory_bytes"  # running and remembered
