package dev.forkd.hosted;

import dev.forkd.state.HostedRow;
import dev.forkd.state.StateStore;

/** Writes hosted sandboxes down. */
record HostedRows(StateStore store) {
  /**
   * @param durable else it means nothing once the host has stopped, as its sandbox does
   */
  void save(Hosted hosted, boolean durable) {
    HostedRow row = hosted.row();
    if (durable) {
      store.putHosted(row);
      return;
    }
    boolean _ =
        store.untilHostStops(tx -> {
          tx.putHosted(row);
          return true;
        });
  }

  void forget(String id) {
    boolean _ = store.deleteHosted(id);
  }
}
