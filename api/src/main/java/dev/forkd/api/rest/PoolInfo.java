package dev.forkd.api.rest;

/**
 * A pool of children that are forked ahead.
 *
 * @param size children to be kept ready; 0 when it is off
 * @param prewarm whether they have worked once before they are handed out
 * @param ready children that wait
 * @param starting children that are being made
 */
public record PoolInfo(String tag, int size, boolean prewarm, int ready, int starting) {
  public PoolInfo {
    tag = Wire.text(tag, "tag");
  }
}
