package dev.forkd.api;

import java.util.List;

/**
 * A Debian package forkd needs on the host.
 *
 * @param name as apt knows it
 * @param files any of which shows that it is there: a program's name, or an absolute path
 * @param purpose what forkd does with it, in a few words
 */
public record HostPackage(String name, List<String> files, String purpose) {
  public HostPackage {
    files = List.copyOf(files);
  }
}
