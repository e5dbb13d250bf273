package dev.forkd.api.rest;

/** Body of {@code POST /v1/sandboxes/{id}/files/move}. */
public record MoveFile(String from, String to) {
  public MoveFile {
    from = Wire.text(from, "from");
    to = Wire.text(to, "to");
  }
}
