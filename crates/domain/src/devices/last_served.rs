//! The configuration served last to each device, in memory (contract §4.2).

use std::sync::Arc;

use moka::sync::Cache;

use crate::ids::DeviceKey;

/// Enough for thousands of devices with configurations of a few kilobytes.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// Memory of an entry in addition to its text.
const ENTRY_BYTES: usize = 200;

/// A cache of the configurations served last. Clones share it.
#[derive(Clone)]
pub(super) struct LastServed(Cache<DeviceKey, Arc<str>>);

impl Default for LastServed {
    fn default() -> Self {
        Self::with_capacity(CAPACITY_BYTES)
    }
}

impl LastServed {
    fn with_capacity(capacity: u64) -> Self {
        let weight = |_: &DeviceKey, text: &Arc<str>| {
            u32::try_from(text.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(capacity).weigher(weight).build())
    }

    pub(super) fn get(&self, key: &DeviceKey) -> Option<Arc<str>> {
        self.0.get(key)
    }

    /// Stores the text which a device is about to get, and returns it.
    pub(super) fn remember(&self, key: &DeviceKey, text: &str) -> Arc<str> {
        // Devices poll far more often than configurations change: most calls do not allocate.
        if let Some(last) = self.0.get(key).filter(|last| **last == *text) {
            return last;
        }
        let text: Arc<str> = Arc::from(text);
        self.0.insert(key.clone(), Arc::clone(&text));
        text
    }

    /// Removes the entry of a device which does not exist any more.
    pub(super) fn forget(&self, key: &DeviceKey) {
        self.0.invalidate(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let served = LastServed::with_capacity(10_000);
        for number in 0..1000 {
            let key = DeviceKey::parse(&format!("dev{number:05}")).unwrap();
            assert_eq!(&*served.remember(&key, &"x".repeat(800)), "x".repeat(800));
        }
        served.0.run_pending_tasks();
        assert!(served.0.weighted_size() <= 10_000 && served.0.entry_count() > 0);
    }

    #[test]
    fn the_text_served_last_is_returned_until_it_is_forgotten() {
        let served = LastServed::default();
        let key = DeviceKey::parse("abcd2345").unwrap();
        served.remember(&key, "one");
        served.remember(&key, "two");
        assert_eq!(served.get(&key).as_deref(), Some("two"));
        served.forget(&key);
        assert_eq!(served.get(&key), None);
    }
}
