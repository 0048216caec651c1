//! Every limit of the engine in one table: what it bounds, its default, who feels it, and whether
//! they wait or are refused. Nothing else in the broker may hold a number of this kind.

/// The limits of one bus. A *refuse* limit answers with a typed error, a *wait* limit delays its
/// caller, and a *bound* limit changes nothing but how much is kept in memory.
///
/// | limit | default | who feels it | then |
/// |---|---|---|---|
/// | `event_bytes` | 1 MiB | publisher | refuse |
/// | `command_events`, `step_events` | 1,024, 256 | publisher | refuse |
/// | `command_bytes` | 4 MiB | publisher | refuse |
/// | `queue_bytes` | 16 MiB | publisher | wait |
/// | `topics`, `groups` | 10,000 | administrator | refuse |
/// | `timers` | 1,000,000 | publisher | refuse |
/// | `timer_delay_ms` | 10 years | publisher | refuse |
/// | `lanes_unfinished` | 100,000 | the group | saturates |
/// | `lane_cached`, `lane_cached_blocked` | 64, 16 | the group | bound |
/// | `member_credit` | 4,096 | the member | bound |
/// | `sessions` | 10,000 | a remote client | the oldest idle one ends |
/// | `session_receipts` | 1,024 | a remote client | wait |
/// | `session_idle_ms` | 10 min | a remote client | its receipts go |
/// | `turns`, `turn_min_age_ms` | 100,000, 1 h | a group | evicted, recorded |
/// | `superseded_listed` | 10,000 | operators | the oldest go |
/// | `dedup_bytes` | 64 MiB | publishers' repeats | the window shortens |
/// | `tail_bytes` | 32 MiB | groups behind it | read from disk |
/// | `window_bytes` | 512 KiB | one group behind | bound |
/// | `timeline_events` | 4,096 | who asks for a timeline | the newest are left out |
/// | `checkpoint_bytes` | 128 MiB of log | recovery time | bound |
/// | `disk_marks` | 512, 256, 64 MiB free | publishers, steps, all | refuse |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table above says it")]
pub struct Limits {
    pub event_bytes: usize,
    pub command_events: usize,
    pub command_bytes: usize,
    pub step_events: usize,
    pub queue_bytes: usize,
    pub topics: usize,
    pub groups: usize,
    pub timers: usize,
    pub timer_delay_ms: u64,
    pub lanes_unfinished: usize,
    pub lane_cached: usize,
    pub lane_cached_blocked: usize,
    pub member_credit: u32,
    pub sessions: usize,
    pub session_receipts: usize,
    pub session_idle_ms: u64,
    pub turns: usize,
    pub turn_min_age_ms: u64,
    pub superseded_listed: usize,
    pub dedup_bytes: usize,
    pub tail_bytes: usize,
    pub window_bytes: usize,
    pub timeline_events: usize,
    pub checkpoint_bytes: u64,
    /// Bytes free below which: plain publishes and new timers, also steps that publish, all but
    /// ack, release and dead-letter are refused.
    pub disk_marks: [u64; 3],
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: MIB,
            command_events: 1024,
            command_bytes: 4 * MIB,
            step_events: 256,
            queue_bytes: 16 * MIB,
            topics: 10_000,
            groups: 10_000,
            timers: 1_000_000,
            timer_delay_ms: 10 * 366 * 24 * 3600 * 1000,
            lanes_unfinished: 100_000,
            lane_cached: 64,
            lane_cached_blocked: 16,
            member_credit: 4096,
            sessions: 10_000,
            session_receipts: 1024,
            session_idle_ms: 10 * 60 * 1000,
            turns: 100_000,
            turn_min_age_ms: 3600 * 1000,
            superseded_listed: 10_000,
            dedup_bytes: 64 * MIB,
            tail_bytes: 32 * MIB,
            window_bytes: 512 * 1024,
            timeline_events: 4096,
            checkpoint_bytes: 128 * MIB as u64,
            disk_marks: [512 * MIB as u64, 256 * MIB as u64, 64 * MIB as u64],
        }
    }
}

const MIB: usize = 1024 * 1024;
