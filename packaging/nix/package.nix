# nix-build -E 'with import <nixpkgs> {}; callPackage ./packaging/nix/package.nix { }'
{
  lib,
  rustPlatform,
  installShellFiles,
}:

rustPlatform.buildRustPackage {
  pname = "p2p-sync";
  version = "0.1.0";
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;

  cargoBuildFlags = [ "--package" "p2p-sync" "--bin" "p2p-sync" ];
  # Most tests need network namespaces, which the sandbox does not have; those of the core need nothing.
  cargoTestFlags = [ "--package" "p2p-sync-core" ];

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    $out/bin/p2p-sync man man
    installManPage man/*.1
    for shell in bash zsh fish; do
      $out/bin/p2p-sync completions $shell > p2p-sync.$shell
    done
    installShellCompletion p2p-sync.{bash,zsh,fish}
  '';

  meta = {
    description = "The machines of a LAN as one replicated key-value store, without a server";
    license = with lib.licenses; [ mit asl20 ];
    mainProgram = "p2p-sync";
  };
}
