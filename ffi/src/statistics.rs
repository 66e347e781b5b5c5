//! Statistics: what a session has done, and how long it took.

use crate::boundary::guard;
use crate::cast::{OutStruct, versioned};
use crate::session::OllmSession;
use crate::status::OllmStatus;
use crate::turn::with;

/// What a session has done since it was made, or since it was forked. Since 0.1.0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OllmStatistics {
    /// `sizeof` of this struct.
    pub struct_size: usize,
    /// Tokens that were fed.
    pub fed: u64,
    /// Seconds that the calls that fed them took.
    pub feed_seconds: f64,
    /// Tokens that were generated.
    pub generated: u64,
    /// Seconds that the calls that generated them took.
    pub generate_seconds: f64,
    /// Seconds from the beginning of the last feed to the first token after it; 0 before that.
    pub first_token_seconds: f64,
    /// Passes over the weights of the network.
    pub passes: u64,
    /// Bytes of the KV cache, those that forks share included.
    pub kv_bytes: usize,
    /// Drafted tokens that went through the network: see `ollm_session_set_draft`.
    pub drafted: u64,
    /// How many of them were right.
    pub accepted: u64,
}

versioned!(OllmStatistics {
    struct_size: usize,
    fed: u64,
    feed_seconds: f64,
    generated: u64,
    generate_seconds: f64,
    first_token_seconds: f64,
    passes: u64,
    kv_bytes: usize,
    drafted: u64,
    accepted: u64,
});

/// What the session has done, in `*statistics`, which must begin with its `struct_size`. Tokens a
/// second of prefill are `fed / feed_seconds`, those of decode `generated / generate_seconds`.
///
/// Statuses: `OLLM_INVALID_ARGUMENT`, `OLLM_INVALID_HANDLE`, `OLLM_BUSY`. Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ollm_session_statistics(
    session: *mut OllmSession,
    statistics: *mut OllmStatistics,
) -> OllmStatus {
    guard(|| {
        // SAFETY: the struct is what the header asks for.
        let out = unsafe { OutStruct::new(statistics) }?;
        let done = with(session, |live| Ok(live.session.statistics()))?;
        out.set(&OllmStatistics {
            struct_size: size_of::<OllmStatistics>(),
            fed: done.fed,
            feed_seconds: done.feed_time.as_secs_f64(),
            generated: done.generated,
            generate_seconds: done.generate_time.as_secs_f64(),
            first_token_seconds: done.first_token.unwrap_or_default().as_secs_f64(),
            passes: done.passes,
            kv_bytes: done.kv_bytes,
            drafted: done.drafted,
            accepted: done.accepted,
        });
        Ok(())
    })
}
