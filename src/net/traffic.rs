//! What flowed through a session: shared by the relay that counts and those who look.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Bytes and last activity of one session. Small; clocks are milliseconds since `began`.
#[derive(Debug)]
pub struct Traffic {
    began: Instant,
    from_device: AtomicU64,
    from_instance: AtomicU64,
    device_heard: AtomicU64,
    instance_heard: AtomicU64,
}

impl Traffic {
    /// Nothing has flowed; the clock starts now.
    pub fn begin() -> Self {
        let zero = AtomicU64::default;
        Self {
            began: Instant::now(),
            from_device: zero(),
            from_instance: zero(),
            device_heard: zero(),
            instance_heard: zero(),
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The device said `bytes` bytes just now.
    pub fn heard_device(&self, bytes: usize) {
        self.from_device.fetch_add(bytes as u64, Ordering::Relaxed);
        self.device_heard.store(self.elapsed(), Ordering::Relaxed);
    }

    /// The instance said `bytes` bytes just now.
    pub fn heard_instance(&self, bytes: usize) {
        self.from_instance.fetch_add(bytes as u64, Ordering::Relaxed);
        self.instance_heard.store(self.elapsed(), Ordering::Relaxed);
    }

    /// Payload bytes so far: from the device, from the instance.
    pub fn bytes(&self) -> (u64, u64) {
        (self.from_device.load(Ordering::Relaxed), self.from_instance.load(Ordering::Relaxed))
    }

    /// How long ago the device was last heard (or the session began).
    pub fn device_silence(&self) -> std::time::Duration {
        std::time::Duration::from_millis(
            self.elapsed().saturating_sub(self.device_heard.load(Ordering::Relaxed)),
        )
    }

    /// How long ago the instance was last heard (or the session began).
    pub fn instance_silence(&self) -> std::time::Duration {
        std::time::Duration::from_millis(
            self.elapsed().saturating_sub(self.instance_heard.load(Ordering::Relaxed)),
        )
    }
}
