package dev.forkd.api.rest;

import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * Body of {@code POST /v1/templates}. Exactly one of packages, ociLayout and rootfs says where the
 * root file system comes from; without any, the tag names a template that forkd knows. Paths are on
 * the daemon's host.
 *
 * @param run shell commands, as root, before the freeze
 * @param warm code for the warm interpreter, before the freeze
 * @param replace build again although the tag exists with the same recipe
 * @param refresh build again, with the packages of today and the newest kernel
 */
public record CreateTemplate(
    String tag,
    Optional<List<String>> packages,
    Optional<String> ociLayout,
    Optional<String> rootfs,
    Optional<String> kernel,
    OptionalLong memoryMib,
    OptionalLong diskMib,
    List<String> run,
    List<String> warm,
    OptionalLong bootTimeoutSecs,
    boolean replace,
    boolean refresh) {
  public CreateTemplate {
    tag = Wire.text(tag, "tag");
    packages = packages.map(names -> Wire.list(names, "packages"));
    run = Wire.list(run, "run");
    warm = Wire.list(warm, "warm");
  }
}
