package dev.forkd.api.rest;

import java.util.Optional;

/** A line of the answer of {@code POST /v1/templates}; exactly one of the first three is there. */
public record TemplateLine(
    Optional<String> progress,
    Optional<SnapshotInfo> snapshot,
    Optional<String> error,
    Optional<String> code) {
  public static TemplateLine progress(String text) {
    return new TemplateLine(
        Optional.of(text), Optional.empty(), Optional.empty(), Optional.empty());
  }

  public static TemplateLine snapshot(SnapshotInfo snapshot) {
    return new TemplateLine(
        Optional.empty(), Optional.of(snapshot), Optional.empty(), Optional.empty());
  }

  public static TemplateLine failed(String code, String error) {
    return new TemplateLine(
        Optional.empty(), Optional.empty(), Optional.of(error), Optional.of(code));
  }
}
