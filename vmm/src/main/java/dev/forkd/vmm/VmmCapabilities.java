package dev.forkd.vmm;

import java.util.Optional;

/**
 * What a driver found on this host.
 *
 * @param name of the monitor, for people
 * @param version as it reports it; part of a template's manifest, since saved device state is only
 *     good for the version that wrote it
 * @param isolation the tier its guests get
 * @param machine hash of the virtual machine it builds: saved device state fits only the same one
 * @param copyObstacle why a VM's process cannot be copied here; empty when nothing is known to be
 *     in the way
 */
public record VmmCapabilities(
    String name,
    String version,
    Isolation isolation,
    String machine,
    Optional<String> copyObstacle) {}
