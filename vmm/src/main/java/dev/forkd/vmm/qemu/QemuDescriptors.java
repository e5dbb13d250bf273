package dev.forkd.vmm.qemu;

import dev.forkd.vmm.VmName;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * Which descriptors of a QEMU process are its connections to us and the sockets it listens on. All
 * copies of a process have them under the same numbers.
 *
 * @param control connected QMP session
 * @param agent connected agent port
 * @param controlListener where the next QMP client would connect
 * @param agentListener where the next host of the agent would connect
 */
record QemuDescriptors(int control, int agent, int controlListener, int agentListener) {
  private static final Path SOCKETS = Path.of("/proc/net/unix");
  private static final String SOCKET_LINK = "socket:[";

  /** Field {@code St} of {@code /proc/net/unix}; SS_UNCONNECTED also marks one that listens. */
  private static final String LISTENS = "01";

  private static final String CONNECTED = "03";

  /**
   * Finds them by the paths the sockets are bound to.
   *
   * @throws IOException when the process does not hold all four: then it is not this VM's, or
   *     nobody is connected to it
   */
  static QemuDescriptors find(VmName name, long pid) throws IOException {
    Map<String, String> roles = new HashMap<>();
    for (String line : Files.readAllLines(SOCKETS, StandardCharsets.ISO_8859_1)) {
      // Num RefCount Protocol Flags Type St Inode Path
      String[] fields = line.strip().split(" +", 8);
      if (fields.length == 8
          && (fields[7].equals(name.controlSocket().toString())
              || fields[7].equals(name.agentSocket().toString()))) {
        roles.put(fields[6], fields[7] + " " + fields[5]);
      }
    }
    Map<String, Integer> found = new HashMap<>();
    try (DirectoryStream<Path> entries =
        Files.newDirectoryStream(Path.of("/proc/" + pid + "/fd"))) {
      for (Path entry : entries) {
        String target = Files.readSymbolicLink(entry).toString();
        if (target.startsWith(SOCKET_LINK)) {
          String role = roles.get(target.substring(SOCKET_LINK.length(), target.length() - 1));
          if (role != null) {
            found.put(role, Integer.parseInt(String.valueOf(entry.getFileName())));
          }
        }
      }
    }
    return new QemuDescriptors(
        number(found, name.controlSocket(), CONNECTED, pid),
        number(found, name.agentSocket(), CONNECTED, pid),
        number(found, name.controlSocket(), LISTENS, pid),
        number(found, name.agentSocket(), LISTENS, pid));
  }

  private static int number(Map<String, Integer> found, Path socket, String state, long pid)
      throws IOException {
    Integer number = found.get(socket + " " + state);
    if (number == null) {
      throw new IOException(
          "process " + pid + " has no socket of " + socket + " in state " + state);
    }
    return number;
  }
}
