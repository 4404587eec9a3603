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

    /// A listener that has not ended, by its pointer or its cookie, whichever is known.
    pub fn listener(&self, sock: u64, cookie: u64) -> Option<&Flow> {
        let mut all = self.listeners.iter().filter_map(|key| self.open.get(key));
        all.find(|flow| (sock != 0 && flow.sock == sock) || (cookie != 0 && flow.cookie == cookie))
    }
}
