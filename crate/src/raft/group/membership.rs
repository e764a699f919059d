//! Which changes of the members may become an entry of the log.
//!
//! Raft would commit a change it refuses as an empty normal entry, and an impossible one as an entry that fails to apply
//! everywhere. Both are refused before they are proposed; so is removing or demoting the leader itself, who would go on
//! leading a group that he is not part of: transfer first.

use protobuf::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, EntryType};
use raft::{Changer, Raft, Storage};

/// The entry that carries `change`; None when it cannot be made now.
pub fn entry_of<T: Storage>(raft: &Raft<T>, change: &ConfChangeV2) -> Option<Entry> {
    let touches_self = |c: &ConfChangeSingle| c.node_id == raft.id && c.get_change_type() != ConfChangeType::AddNode;
    if raft.has_pending_conf() || change.get_changes().iter().any(touches_self) {
        return None;
    }
    let mut changer = Changer::new(raft.prs());
    let possible = match change.enter_joint() {
        _ if change.leave_joint() => changer.leave_joint(),
        Some(auto_leave) => changer.enter_joint(auto_leave, change.get_changes()),
        None => changer.simple(change.get_changes()),
    };
    possible.ok()?;
    let mut entry = Entry::default();
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    entry.data = change.write_to_bytes().ok()?.into();
    Some(entry)
}
