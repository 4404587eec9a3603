//! One clock: items in order of time, whatever CPU or process they came from.
//!
//! The ring keeps the order of reservation, and a program reads the clock after it has reserved, so records
//! of different CPUs can be out of order by as long as a program is interrupted in between. Items are held
//! back until nothing older can come; equal times keep their order of arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::item::Item;

/// How long an item waits for older ones, ns. A program on one CPU can be held up between clock and submit
/// by interrupts; 50 ms is far above what was seen in emulated guests.
pub const HOLD_BACK_NS: u64 = 50_000_000;

#[derive(Debug)]
struct Entry {
    ktime: u64,
    arrival: u64,
    item: Item,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.ktime, self.arrival) == (other.ktime, other.arrival)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ktime, self.arrival).cmp(&(other.ktime, other.arrival))
    }
}

#[derive(Debug, Default)]
pub struct Order {
    heap: BinaryHeap<Reverse<Entry>>,
    arrivals: u64,
    /// Time of the newest item handed out.
    passed: u64,
    /// Items that came after a newer one had been handed out.
    late: u64,
}

impl Order {
    pub fn push(&mut self, item: Item) {
        let ktime = item.ktime();
        if ktime < self.passed {
            self.late += 1;
        }
        self.arrivals += 1;
        self.heap.push(Reverse(Entry {
            ktime,
            arrival: self.arrivals,
            item,
        }));
    }

    /// Hands out what is older than `now - HOLD_BACK_NS`.
    pub fn release(&mut self, now: u64, take: impl FnMut(Item)) {
        self.until(now.saturating_sub(HOLD_BACK_NS), take);
    }

    /// Hands out everything: no more items will come.
    pub fn flush(&mut self, take: impl FnMut(Item)) {
        self.until(u64::MAX, take);
    }

    /// Items that were handed out of order; more than 0 makes a verdict doubtful.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn until(&mut self, end: u64, mut take: impl FnMut(Item)) {
        while let Some(Reverse(first)) = self.heap.peek() {
            if first.ktime > end {
                break;
            }
            if let Some(Reverse(entry)) = self.heap.pop() {
                self.passed = self.passed.max(entry.ktime);
                take(entry.item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Mark;

    fn mark(ktime: u64, name: &str) -> Item {
        Item::Mark(Mark {
            ktime,
            name: name.to_owned(),
            data: serde_json::Value::Null,
        })
    }

    fn flushed(order: &mut Order) -> Vec<u64> {
        let mut times = Vec::new();
        order.flush(|item| times.push(item.ktime()));
        times
    }

    #[test]
    fn items_leave_in_order_of_time() {
        let mut order = Order::default();
        for ktime in [5, 3, 9, 1] {
            order.push(mark(ktime, "x"));
        }
        assert_eq!(flushed(&mut order), [1, 3, 5, 9]);
        assert_eq!(order.late(), 0);
    }

    #[test]
    fn equal_times_keep_their_order_of_arrival() {
        let mut order = Order::default();
        for name in ["a", "b", "c"] {
            order.push(mark(1, name));
        }
        let mut names = Vec::new();
        order.flush(|item| match item {
            Item::Mark(mark) => names.push(mark.name),
            Item::Event(_) => unreachable!(),
        });
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn young_items_are_held_back_and_late_ones_counted() {
        let mut order = Order::default();
        order.push(mark(10, "old"));
        order.push(mark(HOLD_BACK_NS, "young"));
        let mut taken = 0;
        order.release(HOLD_BACK_NS + 10, |_| taken += 1);
        assert_eq!(taken, 1);
        order.push(mark(9, "late"));
        assert_eq!(order.late(), 1);
        assert_eq!(flushed(&mut order), [9, HOLD_BACK_NS]);
    }

    proptest::proptest! {
        #[test]
        fn any_interleaving_gives_the_same_order(mut times in proptest::collection::vec(0u64..1000, 0..60), seed in 0usize..1000) {
            let sorted = { let mut t = times.clone(); t.sort_unstable(); t };
            if !times.is_empty() {
                let mid = seed % times.len();
                times.rotate_left(mid);
            }
            let mut order = Order::default();
            for time in times {
                order.push(mark(time, "x"));
            }
            proptest::prop_assert_eq!(flushed(&mut order), sorted);
        }
    }
}
