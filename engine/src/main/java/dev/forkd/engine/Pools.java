package dev.forkd.engine;

import dev.forkd.api.Tag;
import java.util.List;

/** Pools of children that are forked ahead. A snapshot without one has a pool of size 0. */
public interface Pools {
  int MAX_SIZE = 1000;

  /** Those that are on, by tag. */
  List<PoolView> list();

  /**
   * @throws dev.forkd.api.ForkdException NOT_FOUND
   */
  PoolView get(Tag tag);

  /**
   * Sets a snapshot's pool; it is kept across restarts, and filled in the background.
   *
   * @param size children to keep ready, 0 to {@value #MAX_SIZE}; 0 ends those that are
   * @param prewarm run the fork handshake and one evaluation in each ahead
   * @throws dev.forkd.api.ForkdException NOT_FOUND, INVALID_ARGUMENT for the size,
   *     RESOURCE_EXHAUSTED with the arithmetic when so many do not fit
   */
  PoolView set(Tag tag, int size, boolean prewarm);
}
