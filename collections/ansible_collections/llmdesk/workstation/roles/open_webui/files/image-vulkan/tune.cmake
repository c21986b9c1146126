# Vulkan's part of the engine works for every token: compiled as well as ggml itself. Its shaders are plain bytes to the
# compiler, thousands of them, and stay at the level of the rest.
function(tune_vulkan)
  get_target_property(folder ggml-vulkan SOURCE_DIR)
  set_source_files_properties(${folder}/ggml-vulkan.cpp TARGET_DIRECTORY ggml-vulkan PROPERTIES COMPILE_OPTIONS -O2)
endfunction()
cmake_language(DEFER DIRECTORY ${CMAKE_SOURCE_DIR} CALL tune_vulkan)
