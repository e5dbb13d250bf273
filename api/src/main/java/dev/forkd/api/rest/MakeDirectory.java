package dev.forkd.api.rest;

/** Body of {@code POST /v1/sandboxes/{id}/files/mkdir}. */
public record MakeDirectory(String path) {
  public MakeDirectory {
    path = Wire.text(path, "path");
  }
}
