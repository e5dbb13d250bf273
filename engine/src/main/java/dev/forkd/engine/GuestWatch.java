package dev.forkd.engine;

import java.util.Optional;

/** Hears what changes in a watched folder. Called on one thread, in order. */
public interface GuestWatch {
  /**
   * A change.
   *
   * @param name path below the watched folder
   * @param entry what is there now, where that was asked for and still can be told; never for
   *     REMOVED and RENAMED
   */
  record Change(Kind kind, String name, Optional<GuestFiles.Entry> entry) {}

  enum Kind {
    CREATED,
    WRITTEN,
    REMOVED,
    /** The name is gone; where it went, if that is watched, is a CREATED of its own. */
    RENAMED,
    MODE_CHANGED
  }

  void changed(Change change);

  /** The watching has ended, not by {@link Handle#close}. */
  void ended(dev.forkd.api.ForkdException why);

  /** A watch that is on; closing it ends it. */
  interface Handle extends AutoCloseable {
    @Override
    void close();
  }
}
