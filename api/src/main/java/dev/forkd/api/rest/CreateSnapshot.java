package dev.forkd.api.rest;

import java.util.Optional;
import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/snapshots}: boot a kernel and a root file system, and freeze them.
 *
 * @param kernel path on the daemon's host
 * @param rootfs path of a raw ext4 image on the daemon's host; copied, never written
 * @param rw changes nothing: guests may always write, into layers of their own
 * @param bootWaitSecs at most 60; the guest says itself when it is ready, so this is not slept, and
 *     the answer's warning says so
 */
public record CreateSnapshot(
    String tag,
    String kernel,
    String rootfs,
    boolean rw,
    Optional<String> tap,
    OptionalLong bootWaitSecs) {
  public CreateSnapshot {
    tag = Wire.text(tag, "tag");
    kernel = Wire.text(kernel, "kernel");
    rootfs = Wire.text(rootfs, "rootfs");
  }
}
