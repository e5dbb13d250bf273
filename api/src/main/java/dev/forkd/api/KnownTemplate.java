package dev.forkd.api;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * A template that forkd knows how to make.
 *
 * @param packages Debian packages beyond the minimal system
 * @param folders of forkd's own, below the folder it was installed to, whose files go into the
 *     guest: where to. Of Java sources the guest gets the classes, in a folder {@code classes}
 * @param run shell commands run as root before the freeze, in order
 * @param services what runs in it when it is frozen, so that it runs in each of its children
 * @param rehearsals commands that children are to find warm; they must leave nothing behind
 * @param memoryMib guest memory
 * @param diskMib size of the root disk
 * @param about what it is, in one line
 */
public record KnownTemplate(
    Tag tag,
    List<String> packages,
    Map<String, String> folders,
    List<String> run,
    List<Service> services,
    List<Rehearsal> rehearsals,
    int memoryMib,
    int diskMib,
    String about) {

  /**
   * A program that runs when its template is frozen. It must wait without doing anything.
   *
   * @param command for a shell
   * @param user whose it is
   * @param ready a shell command that succeeds once it is ready
   */
  public record Service(String command, String user, String ready) {}

  /**
   * A command that children are to find warm.
   *
   * @param user whose it is
   */
  public record Rehearsal(List<String> args, String user) {
    public Rehearsal {
      args = List.copyOf(args);
    }
  }

  /** Python with numpy, for {@code eval}: the one that is made when nobody asks for another. */
  public static final KnownTemplate PYTHON =
      new KnownTemplate(
          DefaultTemplate.TAG,
          DefaultTemplate.PACKAGES,
          Map.of(),
          List.of(),
          List.of(),
          List.of(),
          512,
          2048,
          "Python with numpy");

  /**
   * A user, and a login shell that starts fast, as each command of E2B's clients begins with one:
   * under emulation a dynamic bash takes 40 ms longer than a static one, and {@code id} in the
   * profile as long again.
   */
  private static final List<String> USER =
      List.of(
          "dpkg-divert --local --rename --divert /bin/bash.dynamic --add /bin/bash",
          "ln -s bash-static /bin/bash",
          "sed -i 's/[\"`][$(]*id -u[)`]*\"* -eq 0/\"${EUID:-$(id -u)}\" -eq 0/' /etc/profile",
          "useradd --create-home --shell /bin/bash --user-group user",
          "echo 'user ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/user",
          "chmod 440 /etc/sudoers.d/user");

  /** How E2B's clients run a command. */
  private static final Rehearsal LOGIN_SHELL =
      new Rehearsal(List.of("/bin/bash", "-l", "-c", "true"), "user");

  /** A general one: a user who may become root, a shell, and the usual tools. */
  public static final KnownTemplate BASE =
      new KnownTemplate(
          new Tag("base"),
          List.of(
              "attr",
              "bash",
              "bash-static",
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
          Map.of(),
          USER,
          List.of(),
          List.of(LOGIN_SHELL),
          512,
          2048,
          "bash, git, curl, Python, Node.js, and a user who may become root");

  /** E2B's code interpreter: kernels that are warm when they are asked. */
  public static final KnownTemplate CODE_INTERPRETER =
      new KnownTemplate(
          new Tag("code-interpreter-v1"),
          Stream.concat(
                  BASE.packages().stream(),
                  Stream.of(
                      "openjdk-17-jdk-headless",
                      "python3-bs4",
                      "python3-ipykernel",
                      "python3-lxml",
                      "python3-matplotlib",
                      "python3-networkx",
                      "python3-openpyxl",
                      "python3-pandas",
                      "python3-requests",
                      "python3-scipy",
                      "python3-seaborn",
                      "python3-sklearn",
                      "python3-sympy",
                      "python3-tabulate",
                      "python3-tornado",
                      "python3-yaml"))
              .toList(),
          Map.of("guest/interpreter", "/opt/forkd-interpreter"),
          Stream.concat(USER.stream(), Stream.of("python3 -m compileall -q /opt/forkd-interpreter"))
              .toList(),
          List.of(
              new Service(
                  // The code that it runs may kill what is its user's; what keeps it is root's.
                  "cd /home/user; FORKD_INTERPRETER_WARM=python,javascript,bash,java"
                      + " exec sh /opt/forkd-interpreter/keep"
                      + " setpriv --reuid=user --regid=user --init-groups"
                      + " env HOME=/home/user USER=user LOGNAME=user"
                      + " python3 /opt/forkd-interpreter/server.py",
                  "root",
                  "curl -sf http://127.0.0.1:49999/health")),
          List.of(
              LOGIN_SHELL,
              new Rehearsal(
                  List.of(
                      "curl",
                      "-sf",
                      "-d",
                      "{\"code\":\"1 + 1\",\"warm\":true}",
                      "http://127.0.0.1:49999/execute"),
                  "user")),
          1024,
          4096,
          "E2B's code interpreter: Python, JavaScript, bash and Java kernels");

  private static final List<KnownTemplate> ALL = List.of(PYTHON, BASE, CODE_INTERPRETER);

  public KnownTemplate {
    packages = List.copyOf(packages);
    folders = Map.copyOf(folders);
    run = List.copyOf(run);
    services = List.copyOf(services);
    rehearsals = List.copyOf(rehearsals);
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
