//! The configuration served last to each device, in memory (contract §4.2).

use std::sync::Arc;

use moka::sync::Cache;

use crate::ids::{DeviceKey, ModelCode};

/// Enough for thousands of devices with configurations of a few kilobytes.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;
/// Memory of an entry in addition to its text.
const ENTRY_BYTES: usize = 200;

/// A cache of the configurations served last. Clones share it.
#[derive(Clone)]
pub(super) struct LastServed(Cache<DeviceKey, Served>);

/// What a device was served.
#[derive(Clone)]
pub(super) struct Served {
    /// The model of its row, which the claim of each later request is compared with.
    pub(super) model: ModelCode,
    pub(super) text: Arc<str>,
}

impl Default for LastServed {
    fn default() -> Self {
        Self::with_capacity(CAPACITY_BYTES)
    }
}

impl LastServed {
    fn with_capacity(capacity: u64) -> Self {
        let weight = |_: &DeviceKey, served: &Served| {
            u32::try_from(served.text.len() + ENTRY_BYTES).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(capacity).weigher(weight).build())
    }

    pub(super) fn get(&self, key: &DeviceKey) -> Option<Served> {
        self.0.get(key)
    }

    /// Stores the text which a device is about to get, and returns it.
    pub(super) fn remember(&self, key: &DeviceKey, model: ModelCode, text: &str) -> Arc<str> {
        // Devices poll far more often than configurations change: most calls do not allocate.
        let last = self.0.get(key).filter(|last| *last.text == *text && last.model == model);
        if let Some(last) = last {
            return last.text;
        }
        let text: Arc<str> = Arc::from(text);
        self.0.insert(key.clone(), Served { model, text: Arc::clone(&text) });
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

    fn model(code: &str) -> ModelCode {
        ModelCode::parse(code).unwrap()
    }

    #[test]
    fn memory_is_bounded() {
        let served = LastServed::with_capacity(10_000);
        for number in 0..1000 {
            let key = DeviceKey::parse(&format!("dev{number:05}")).unwrap();
            let text = served.remember(&key, model("demo"), &"x".repeat(800));
            assert_eq!(&*text, "x".repeat(800));
        }
        served.0.run_pending_tasks();
        assert!(served.0.weighted_size() <= 10_000 && served.0.entry_count() > 0);
    }

    #[test]
    fn the_text_served_last_is_returned_until_it_is_forgotten() {
        let served = LastServed::default();
        let key = DeviceKey::parse("abcd2345").unwrap();
        served.remember(&key, model("demo"), "one");
        served.remember(&key, model("demo"), "two");
        assert_eq!(&*served.get(&key).unwrap().text, "two");
        served.remember(&key, model("other"), "two");
        assert_eq!(served.get(&key).unwrap().model, model("other"));
        served.forget(&key);
        assert!(served.get(&key).is_none());
    }
}
