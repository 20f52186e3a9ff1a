//! What each device was given last, in memory (contract §4.2).

use std::sync::Arc;

use moka::sync::Cache;

use crate::ids::DeviceKey;

/// Thousands of devices with configurations of a few kilobytes.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// What an entry takes beside its text.
const ENTRY_BYTES: usize = 200;

/// The configurations served last, as many as fit. Clones share them.
#[derive(Clone)]
pub(super) struct LastServed(Cache<DeviceKey, Arc<str>>);

impl Default for LastServed {
    fn default() -> Self {
        Self::of(CAPACITY_BYTES)
    }
}

impl LastServed {
    fn of(capacity: u64) -> Self {
        let weight = |_: &DeviceKey, text: &Arc<str>| {
            u32::try_from(text.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(capacity).weigher(weight).build())
    }

    pub(super) fn get(&self, key: &DeviceKey) -> Option<Arc<str>> {
        self.0.get(key)
    }

    /// Takes over what a device is given; the text itself, shared.
    pub(super) fn remember(&self, key: &DeviceKey, text: &str) -> Arc<str> {
        // Devices poll far more often than configurations change.
        if let Some(last) = self.0.get(key).filter(|last| **last == *text) {
            return last;
        }
        let text: Arc<str> = Arc::from(text);
        self.0.insert(key.clone(), Arc::clone(&text));
        text
    }

    /// There is no such device any more.
    pub(super) fn forget(&self, key: &DeviceKey) {
        self.0.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let served = LastServed::of(10_000);
        for number in 0..1000 {
            let key = DeviceKey::parse(&format!("dev{number:05}")).unwrap();
            assert_eq!(&*served.remember(&key, &"x".repeat(800)), "x".repeat(800));
        }
        served.0.run_pending_tasks();
        assert!(served.0.weighted_size() <= 10_000 && served.0.entry_count() > 0);
    }

    #[test]
    fn what_was_served_last_is_there_until_it_is_forgotten() {
        let served = LastServed::default();
        let key = DeviceKey::parse("abcd2345").unwrap();
        served.remember(&key, "one");
        served.remember(&key, "two");
        assert_eq!(served.get(&key).as_deref(), Some("two"));
        served.forget(&key);
        assert_eq!(served.get(&key), None);
    }
}
