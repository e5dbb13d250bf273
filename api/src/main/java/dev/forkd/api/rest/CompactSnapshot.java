package dev.forkd.api.rest;

/**
 * Body of {@code POST /v1/snapshots/{tag}/compact}.
 *
 * @param to tag of the flat snapshot to make
 */
public record CompactSnapshot(String to) {
  public CompactSnapshot {
    to = Wire.text(to, "to");
  }
}
