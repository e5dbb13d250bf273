package dev.forkd.state;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/**
 * The layout of a data directory. Everything forkd keeps is in it, except sockets, which need a
 * path of less than 108 bytes and live in {@link #runtimeDir}.
 */
public final class DataDir {
  private static final Set<PosixFilePermission> PRIVATE =
      PosixFilePermissions.fromString("rwx------");
  private static final FileAttribute<Set<PosixFilePermission>> PRIVATE_ATTRIBUTE =
      PosixFilePermissions.asFileAttribute(PRIVATE);

  /** A socket path's limit of 107 characters less a slash, an id of 40 and a suffix. */
  private static final int RUNTIME_DIR_LIMIT = 107 - 1 - 40 - 6;

  private static final List<String> FOLDERS =
      List.of("snapshots", "images", "ram", "guest", "staging", "logs");

  private final Path root;
  private final Path runtimeDir;

  private DataDir(Path root, Path runtimeDir) {
    this.root = root;
    this.runtimeDir = runtimeDir;
  }

  /**
   * Where the data directory is for these environment variables: {@code FORKD_DATA_DIR}, else
   * {@code forkd} in {@code XDG_DATA_HOME}, else {@code ~/.local/share/forkd}.
   */
  public static Path locate(Map<String, String> environment) {
    Optional<String> named = present(environment, "FORKD_DATA_DIR");
    if (named.isPresent()) {
      return Path.of(named.get());
    }
    Optional<String> home = present(environment, "XDG_DATA_HOME");
    if (home.isPresent()) {
      return Path.of(home.get(), "forkd");
    }
    return Path.of(
        present(environment, "HOME").orElse(System.getProperty("user.home")),
        ".local",
        "share",
        "forkd");
  }

  /** Opens {@code root} with this process's environment. */
  public static DataDir open(Path root) {
    return open(root, System.getenv());
  }

  /**
   * Creates what is missing of the folders, with mode 0700.
   *
   * @param environment decides, with {@code XDG_RUNTIME_DIR}, where a new runtime folder is made
   * @throws ForkdException PERMISSION_DENIED when a folder cannot be made or written
   */
  public static DataDir open(Path root, Map<String, String> environment) {
    try {
      makePrivate(root.toAbsolutePath());
      // Without symbolic links, so that two names of one folder give one runtime folder.
      Path real = root.toRealPath();
      for (String folder : FOLDERS) {
        makePrivate(real.resolve(folder));
      }
      return new DataDir(real, runtimeDirOf(real, environment));
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.PERMISSION_DENIED,
          "data directory "
              + root
              + " cannot be prepared: "
              + e
              + "; choose another one with"
              + " --data-dir or FORKD_DATA_DIR, or mend its owner and mode",
          e);
    }
  }

  /** The folder itself, absolute and free of symbolic links. */
  public Path root() {
    return root;
  }

  /** Held by the one process that owns the directory. */
  public Path lockFile() {
    return root.resolve("lock");
  }

  /** Where the daemon says how to reach it. */
  public Path daemonFile() {
    return root.resolve("daemon.json");
  }

  /** The token of the local user. */
  public Path tokenFile() {
    return root.resolve("token");
  }

  public Path database() {
    return root.resolve("state.db");
  }

  /** Manifest and device state of each snapshot, by tag. */
  public Path snapshots() {
    return root.resolve("snapshots");
  }

  public Path snapshot(String tag) {
    return snapshots().resolve(segment(tag));
  }

  /** Immutable disk layers. */
  public Path images() {
    return root.resolve("images");
  }

  /** Immutable memory images. */
  public Path ram() {
    return root.resolve("ram");
  }

  /** Kernel and initramfs. */
  public Path guest() {
    return root.resolve("guest");
  }

  /** What is unfinished; emptied when the directory changes hands. */
  public Path staging() {
    return root.resolve("staging");
  }

  public Path logs() {
    return root.resolve("logs");
  }

  public Path daemonLog() {
    return logs().resolve("daemon.log");
  }

  public Path auditLog() {
    return root.resolve("audit.log");
  }

  /**
   * A short folder for sockets, of this data directory alone. Once chosen it stays the same, noted
   * in the symbolic link {@code run}: a later owner with another environment must find the sockets
   * of the sandboxes it adopts.
   */
  public Path runtimeDir() {
    return runtimeDir;
  }

  /**
   * What the names of this directory's cgroups begin with. Their names are unique on the host, and
   * a sweep must not touch those of another data directory.
   */
  public String cgroupPrefix() {
    return "forkd-" + shortHash(root) + "-";
  }

  /** The name of a sandbox's cgroup. */
  public String cgroupName(String id) {
    return cgroupPrefix() + segment(id);
  }

  /** Makes a new private folder in {@link #staging}, whose name begins with {@code purpose}. */
  public Path newStaging(String purpose) {
    try {
      return Files.createTempDirectory(staging(), segment(purpose) + "-", PRIVATE_ATTRIBUTE);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.RESOURCE_EXHAUSTED,
          "no folder could be made in " + staging() + ": " + e + "; check space and mode",
          e);
    }
  }

  /**
   * Empties {@link #staging}; only for the owner of the lock, before it begins anything.
   *
   * @return the names removed, sorted
   */
  public List<String> cleanStaging() {
    List<Path> found = new ArrayList<>();
    try (Stream<Path> entries = Files.list(staging())) {
      entries.sorted().forEach(found::add);
      for (Path entry : found) {
        deleteTree(entry);
      }
    } catch (IOException | UncheckedIOException e) {
      throw new ForkdException(
          ErrorCode.PERMISSION_DENIED,
          "staging folder " + staging() + " cannot be emptied: " + e + "; remove its contents",
          e);
    }
    return found.stream().map(path -> String.valueOf(path.getFileName())).toList();
  }

  /**
   * Removes a file, or a folder with all in it, following no symbolic link. Nothing there is no
   * error.
   */
  public static void deleteTree(Path tree) throws IOException {
    if (Files.isDirectory(tree, LinkOption.NOFOLLOW_LINKS)) {
      List<Path> entries;
      try (Stream<Path> listed = Files.list(tree)) {
        entries = listed.toList();
      } catch (NoSuchFileException e) {
        return;
      }
      for (Path entry : entries) {
        deleteTree(entry);
      }
    }
    Files.deleteIfExists(tree);
  }

  private static Path runtimeDirOf(Path root, Map<String, String> environment) throws IOException {
    Path note = root.resolve("run");
    if (Files.isSymbolicLink(note)) {
      Path noted = Files.readSymbolicLink(note);
      if (isOurs(noted)) {
        return noted;
      }
      Files.delete(note);
    }
    int uid = (int) Files.getAttribute(root, "unix:uid", LinkOption.NOFOLLOW_LINKS);
    String name = "forkd-" + shortHash(root);
    List<Path> candidates = new ArrayList<>();
    candidates.add(Path.of("/run", name));
    candidates.add(Path.of("/dev/shm", "forkd-" + uid + "-" + shortHash(root)));
    candidates.add(Path.of("/tmp", "forkd-" + uid + "-" + shortHash(root)));
    // Each child has sockets and a log there: where nothing is written to a disk, if there is such.
    candidates.sort(Comparator.comparing(candidate -> !inMemory(candidate)));
    present(environment, "XDG_RUNTIME_DIR")
        .ifPresent(dir -> candidates.addFirst(Path.of(dir, name)));
    List<String> refusals = new ArrayList<>();
    for (Path candidate : candidates) {
      if (!candidate.isAbsolute()
          || candidate.toString().getBytes(StandardCharsets.UTF_8).length > RUNTIME_DIR_LIMIT) {
        refusals.add(candidate + " is too long or not absolute");
        continue;
      }
      try {
        if (!Files.isDirectory(candidate, LinkOption.NOFOLLOW_LINKS)) {
          Files.createDirectory(candidate, PRIVATE_ATTRIBUTE);
        }
      } catch (IOException e) {
        refusals.add(e.toString());
        continue;
      }
      if (isOurs(candidate)) {
        Files.createSymbolicLink(note, candidate);
        return candidate;
      }
      refusals.add(candidate + " is not ours alone");
    }
    throw new IOException("no folder for sockets: " + String.join("; ", refusals));
  }

  private static boolean inMemory(Path folder) {
    try {
      return Files.getFileStore(folder.getParent()).type().equals("tmpfs");
    } catch (IOException e) {
      // It is not there, and will be refused with the reason.
      return false;
    }
  }

  /** In /tmp anyone could have made the folder first: it must be ours, real and private. */
  private static boolean isOurs(Path dir) throws IOException {
    if (!Files.isDirectory(dir, LinkOption.NOFOLLOW_LINKS)) {
      return false;
    }
    Object owner = Files.getAttribute(dir, "unix:uid", LinkOption.NOFOLLOW_LINKS);
    return owner.equals(Files.getAttribute(Path.of("/proc/self"), "unix:uid"))
        && Files.getPosixFilePermissions(dir, LinkOption.NOFOLLOW_LINKS).equals(PRIVATE)
        && Files.isWritable(dir);
  }

  private static void makePrivate(Path dir) throws IOException {
    if (!Files.isDirectory(dir)) {
      Files.createDirectories(dir, PRIVATE_ATTRIBUTE);
    }
    if (!Files.isWritable(dir)) {
      throw new IOException(dir + " is not writable");
    }
  }

  private static String shortHash(Path root) {
    try {
      byte[] digest =
          MessageDigest.getInstance("SHA-256")
              .digest(root.toString().getBytes(StandardCharsets.UTF_8));
      return HexFormat.of().formatHex(digest, 0, 4);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  /** A name from outside must not leave its folder. */
  private static String segment(String name) {
    if (name.isEmpty() || name.startsWith(".") || name.indexOf('/') >= 0) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "'" + name + "' cannot name a file of the data directory");
    }
    return name;
  }

  private static Optional<String> present(Map<String, String> environment, String name) {
    return Optional.ofNullable(environment.get(name)).filter(value -> !value.isBlank());
  }
}
