package dev.forkd.hosted;

import dev.forkd.api.SandboxId;
import dev.forkd.api.Tag;
import dev.forkd.state.HostedRow;
import dev.forkd.state.StateStore;
import java.util.Optional;

/**
 * Snapshots that are needed for a moment only, to make others of. They look like any other, so each
 * is written down before it is made: the next process removes those of one that was killed.
 */
record Moments(StateStore store, HostedHost host) {
  private static final System.Logger LOG = System.getLogger(Moments.class.getName());

  /** Where a sandbox's row has what it was made as; the id of such a row is the snapshot's tag. */
  private static final String DETAIL = "{\"moment\":true}";

  /**
   * Of a sandbox, as it is now.
   *
   * @param prefix what it is for
   */
  Moment of(SandboxId sandbox, String prefix) {
    Tag tag = HostedNames.tag(prefix);
    boolean _ =
        store.untilHostStops(tx -> {
          tx.putHosted(new HostedRow(tag.value(), DETAIL, false, 0, 0));
          return true;
        });
    Moment moment = new Moment(tag);
    try {
      host.branch(sandbox, tag);
      return moment;
    } catch (RuntimeException e) {
      moment.close();
      throw e;
    }
  }

  /** One of them; closed, it is gone. */
  final class Moment implements AutoCloseable {
    private final Tag tag;

    private Moment(Tag tag) {
      this.tag = tag;
    }

    Tag tag() {
      return tag;
    }

    @Override
    public void close() {
      try {
        remove(tag);
      } catch (RuntimeException e) {
        // What was made of it is there all the same.
        LOG.log(
            System.Logger.Level.WARNING,
            "snapshot {0}, which nobody needs any more, stays until the next start: {1}",
            tag,
            e.getMessage());
      }
    }
  }

  static boolean isOne(HostedRow row) {
    return row.detailJson().equals(DETAIL);
  }

  /**
   * Removes one that a former process has left.
   *
   * @return what was done, for people
   */
  Optional<String> sweep(HostedRow row) {
    remove(new Tag(row.id()));
    return Optional.of("removed: snapshot " + row.id() + ", which was needed for a moment only");
  }

  private void remove(Tag tag) {
    host.remove(tag);
    boolean _ = store.untilHostStops(tx -> tx.deleteHosted(tag.value()));
  }
}
