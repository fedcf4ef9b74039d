//! Every bound in one place: value, unit, and what breaks without it.

/// Bytes of one log batch. Recovery trusts that only the last batch can be torn, so a hole
/// further than this before the last good byte is corruption (DESIGN.md section 4).
pub const BATCH_BYTES_MAX: usize = 8 << 20;

/// Inputs the pipeline takes in one turn; without it a flood starves commits.
pub const BATCH_INPUTS_MAX: usize = 4096;

/// Requests that one shard may have waiting in the pipeline's queue; at the bound the shard stops
/// reading the connection that wants to add one.
pub const SHARD_QUEUE_REQUESTS_MAX: usize = 4096;

/// Replies and session records from the pipeline to one shard. It never fills: each slot is
/// reserved by a request in flight or a session record, which the pipeline keeps back when full.
pub const REPLY_QUEUE_MAX: usize = 16384;

/// Changes in the broadcast ring; when the slowest shard lags so far the pipeline stops
/// publishing, but goes on logging.
pub const CHANGE_RING_MAX: usize = 16384;

/// Bytes queued for a client above which its requests are not read (a correct client may pipeline
/// 128 reads of 1 MB).
pub const OUT_PAUSE_BYTES: usize = 1 << 20;

/// Bytes of the reply to one multiRead, above which it is refused: a frame has room for thousands of
/// reads of the same large node, and no client takes a reply of this size.
pub const MULTI_READ_BYTES_MAX: usize = 64 << 20;

/// Bytes of watch events queued for a client that does not read, above which it is closed.
pub const EVENTS_BYTES_MAX: usize = 64 << 20;

/// Pipelined requests of one connection held behind its own pending write, above which it is not
/// read any further.
pub const CONN_PENDING_MAX: usize = 1024;

/// Requests between prep and publication. With a sync of 10 ms it bounds writes at 1.6 million a
/// second, far above what a core preps; without it a stalled disk would fill the memory.
pub const IN_FLIGHT_MAX: usize = 16384;

/// Superseded versions looked at in one turn of the pipeline.
pub const COLLECT_VERSIONS_MAX: usize = 8192;
