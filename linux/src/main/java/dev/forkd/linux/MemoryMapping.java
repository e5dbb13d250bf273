package dev.forkd.linux;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * A range of a process's address space that maps a file.
 *
 * @param offset where in the file it begins
 * @see <a href="https://man7.org/linux/man-pages/man5/proc_pid_maps.5.html">proc_pid_maps(5)</a>
 */
public record MemoryMapping(long start, long end, long offset) {

  public long bytes() {
    return end - start;
  }

  /**
   * Every mapping of the file with this inode, by file offset. Paths are not compared: a memfd has
   * none, and a deleted file's changes. Two files of one inode number on different devices cannot
   * both be guest memory: there is one memory file per process.
   */
  public static List<MemoryMapping> of(int pid, long inode) throws IOException {
    List<MemoryMapping> found = new ArrayList<>();
    Path maps = Path.of("/proc/" + pid + "/maps");
    try (BufferedReader lines = Files.newBufferedReader(maps, StandardCharsets.ISO_8859_1)) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        // start-end perms offset dev inode path
        String[] fields = line.split(" +", 6);
        if (fields.length >= 5 && Long.parseLong(fields[4]) == inode) {
          int dash = fields[0].indexOf('-');
          found.add(
              new MemoryMapping(
                  Long.parseUnsignedLong(fields[0], 0, dash, 16),
                  Long.parseUnsignedLong(fields[0], dash + 1, fields[0].length(), 16),
                  Long.parseUnsignedLong(fields[2], 16)));
        }
      }
    }
    found.sort(java.util.Comparator.comparingLong(MemoryMapping::offset));
    return found;
  }
}
