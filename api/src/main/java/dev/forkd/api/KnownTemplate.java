package dev.forkd.api;

import java.util.List;
import java.util.Optional;

/**
 * A template that forkd knows how to make.
 *
 * @param packages Debian packages beyond the minimal system
 * @param run shell commands run as root before the freeze, in order
 * @param memoryMib guest memory
 * @param diskMib size of the root disk
 * @param about what it is, in one line
 */
public record KnownTemplate(
    Tag tag, List<String> packages, List<String> run, int memoryMib, int diskMib, String about) {
  /** Python with numpy, for {@code eval}: the one that is made when nobody asks for another. */
  public static final KnownTemplate PYTHON =
      new KnownTemplate(
          DefaultTemplate.TAG, DefaultTemplate.PACKAGES, List.of(), 512, 2048, "Python with numpy");

  /** A general one: a user who may become root, a shell, and the usual tools. */
  public static final KnownTemplate BASE =
      new KnownTemplate(
          new Tag("base"),
          List.of(
              "attr",
              "bash",
              "ca-certificates",
              "curl",
              "git",
              "iproute2",
              "libnss-myhostname",
              "ncurses-bin",
              "ncurses-term",
              "nodejs",
              "procps",
              "python-is-python3",
              "python3",
              "python3-numpy",
              "sudo"),
          List.of(
              "useradd --create-home --shell /bin/bash --user-group user",
              "echo 'user ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/user",
              "chmod 440 /etc/sudoers.d/user"),
          512,
          2048,
          "bash, git, curl, Python, Node.js, and a user who may become root");

  private static final List<KnownTemplate> ALL = List.of(PYTHON, BASE);

  public KnownTemplate {
    packages = List.copyOf(packages);
    run = List.copyOf(run);
  }

  /** All of them. */
  public static List<KnownTemplate> all() {
    return ALL;
  }

  /** The one of that name. */
  public static Optional<KnownTemplate> find(String name) {
    return ALL.stream().filter(known -> known.tag().value().equals(name)).findFirst();
  }
}
