package dev.forkd.api;

import java.util.List;

/** The template that is made when nobody asks for another: Python with numpy, on Debian 12. */
public final class DefaultTemplate {
  public static final Tag TAG = new Tag("python");

  /** Debian packages beyond the minimal system. */
  public static final List<String> PACKAGES = List.of("python3", "python3-numpy");

  /** The Debian release whose packages templates are made of. */
  public static final String SUITE = "bookworm";

  private DefaultTemplate() {}
}
