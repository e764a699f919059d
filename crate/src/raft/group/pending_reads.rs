//! Reads that wait for a quorum.
//!
//! Invariant: a read that was accepted is answered: confirmed, or reported as lost. Raft itself drops all of them without
//! a word when leadership changes.

#[derive(Default)]
pub struct PendingReads {
    contexts: Vec<Vec<u8>>,
    /// They were all asked in this term.
    term: u64,
}

impl PendingReads {
    /// False: a read with this context is pending.
    pub fn ask(&mut self, context: Vec<u8>, term: u64) -> bool {
        if self.contexts.contains(&context) {
            return false;
        }
        self.term = term;
        self.contexts.push(context);
        true
    }

    pub fn any(&self) -> bool {
        !self.contexts.is_empty()
    }

    pub fn confirm(&mut self, confirmed: &[(Vec<u8>, u64)]) {
        self.contexts.retain(|context| !confirmed.iter().any(|(other, _)| other == context));
    }

    /// Whether there are any, and the replica does not lead the term any more in which they were asked.
    pub fn are_lost(&self, leading_term: Option<u64>) -> bool {
        !self.contexts.is_empty() && leading_term != Some(self.term)
    }

    pub fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.contexts)
    }
}
