//! A flow by what an event says of it.

use super::ends::Ends;
use super::flow::Flow;
use super::flows::Flows;

impl Flows {
    /// By its pointer, else by its ends: what is known from a list only has no pointer yet.
    pub fn find(&self, sock: u64, ends: &Ends) -> Option<&Flow> {
        let by_sock = self.by_sock.get(&sock).filter(|_| sock != 0);
        let key = by_sock.or_else(|| self.by_ends.get(ends))?;
        self.open.get(key)
    }
}
