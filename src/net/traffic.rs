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
    /// How many of `from_device` and `from_instance` were reported.
    reported: [AtomicU64; 2],
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
            reported: [zero(), zero()],
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

    /// Payload bytes since this was last asked, which it may be from several threads: from the device,
    /// from the instance. So whoever counts them counts each once.
    pub fn unreported(&self) -> (u64, u64) {
        let since = |bytes: u64, reported: &AtomicU64| {
            bytes.saturating_sub(reported.fetch_max(bytes, Ordering::Relaxed))
        };
        let (from_device, from_instance) = self.bytes();
        (since(from_device, &self.reported[0]), since(from_instance, &self.reported[1]))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_reported_once_whoever_asks() {
        let traffic = Traffic::begin();
        let reported = [AtomicU64::new(0), AtomicU64::new(0)];
        let report = || {
            let (from_device, from_instance) = traffic.unreported();
            reported[0].fetch_add(from_device, Ordering::Relaxed);
            reported[1].fetch_add(from_instance, Ordering::Relaxed);
        };
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| (0..10_000).for_each(|_| report()));
            }
            for _ in 0..10_000 {
                traffic.heard_device(3);
                traffic.heard_instance(5);
            }
        });
        report();
        assert_eq!(reported.map(AtomicU64::into_inner), [30_000, 50_000]);
        assert_eq!((traffic.bytes(), traffic.unreported()), ((30_000, 50_000), (0, 0)));
    }
}
